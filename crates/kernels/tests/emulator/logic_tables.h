// The part of logic.cpp that tests kernels with tables: embeddings and AdamW.
#pragma once

namespace {

// As cuda/embedding.rs sorts.
void sort_keys(vector<unsigned long long> &keys) {
    unsigned padded = keys.size(), block = std::min(padded, (unsigned)SORT_BLOCK);
    dim3 grid = {padded / block, 1, 1}, threads = {block / 2, 1, 1};
    run(grid, threads, [&] { sort_block(keys.data(), 2, block); });
    for (unsigned length = 2 * block; length <= padded; length *= 2) {
        for (unsigned distance = length / 2; distance >= block; distance /= 2) {
            run(over(padded / 2), THREADS, [&] { sort_step(keys.data(), length, distance, padded / 2); });
        }
        run(grid, threads, [&] { sort_block(keys.data(), length, length); });
    }
}

void test_embedding(int count, int rows, int width) {
    vector<float> table = random_values(rows * width), dy = random_values(count * width), y(count * width);
    vector<float> gradient(rows * width);
    vector<unsigned> ids(count);
    vector<double> ey, eg(rows * width);
    for (int i = 0; i < count; i++) {
        ids[i] = (unsigned)((random_value() + 1) / 2 * rows) % rows;
        for (int c = 0; c < width; c++) {
            ey.push_back(table[ids[i] * width + c]);
            eg[ids[i] * width + c] += dy[i * width + c];
        }
    }
    int values = count * width, padded = 2;
    while (padded < count) padded *= 2;
    run(over(values), THREADS, [&] { embedding_forward(table.data(), ids.data(), y.data(), width, rows, values); });
    compare("embedding_forward", y, ey);
    vector<unsigned long long> keys(padded), sorted(padded, ~0ull);
    run(over(padded), THREADS, [&] { embedding_keys(ids.data(), keys.data(), count, padded); });
    for (int i = 0; i < count; i++) sorted[i] = (unsigned long long)ids[i] << 32 | i;
    std::sort(sorted.begin(), sorted.end());
    sort_keys(keys);
    checked++;
    if (keys != sorted) {
        std::printf("sort of %d keys: not sorted\n", count);
        wrong++;
    }
    run({(unsigned)count, up(width, TILE_COLUMNS), 1}, TILE, [&] {
        embedding_backward(dy.data(), keys.data(), gradient.data(), count, width, rows);
    });
    compare("embedding_backward", gradient, eg);
}

void test_adamw() {
    const int entries = 3, chunk = 100;
    unsigned sizes[entries] = {250, 1, 101}, decays[entries] = {1, 0, 1};
    vector<unsigned> chunks;
    vector<vector<float>> values, gradients, firsts, seconds;
    vector<unsigned long long> pointers(4 * entries);
    double norm = 0;
    for (unsigned e = 0; e < entries; e++) {
        for (unsigned start = 0; start < sizes[e]; start += chunk) chunks.insert(chunks.end(), {e, start});
        values.push_back(random_values(sizes[e])), gradients.push_back(random_values(sizes[e]));
        firsts.push_back(random_values(sizes[e])), seconds.push_back(random_values(sizes[e]));
        for (float &v : seconds[e]) v = v * v;
        for (float g : gradients[e]) norm += (double)g * g;
    }
    for (unsigned e = 0; e < entries; e++) {
        pointers[e] = (unsigned long long)values[e].data(), pointers[entries + e] = (unsigned long long)gradients[e].data();
        pointers[2 * entries + e] = (unsigned long long)firsts[e].data();
        pointers[3 * entries + e] = (unsigned long long)seconds[e].data();
    }
    unsigned lost[entries] = {};
    auto before = values;
    auto m = firsts, v = seconds;
    vector<float> squares(chunks.size() / 2), factor(1);
    int blocks = squares.size();
    float step = 0.01f, root = 0.9f, keep = 0.99f, beta2 = 0.999f, share1 = 0.1f, share2 = 0.001f, epsilon = 1e-8f, largest = 2;
    dim3 grid = {(unsigned)blocks, 1, 1};
    run(grid, THREADS, [&] { gradient_squares(pointers.data(), sizes, chunks.data(), squares.data(), entries, chunk); });
    run({1, 1, 1}, THREADS, [&] { clip_factor(squares.data(), factor.data(), largest, blocks); });
    double expected_factor = std::min(1.0, largest / (std::sqrt(norm) + 1e-6));
    compare("clip_factor", factor, {expected_factor});
    run(grid, THREADS, [&] {
        adamw(pointers.data(), sizes, decays, chunks.data(), factor.data(), squares.data(), lost, step, root, keep, beta2, share1, share2, epsilon, entries, chunk);
    });
    double sum = 0;
    for (float square : squares) sum += square;
    compare("adamw squares", {(float)sum}, {norm});
    for (unsigned e = 0; e < entries; e++) {
        vector<double> expected, first;
        for (unsigned i = 0; i < sizes[e]; i++) {
            double g = gradients[e][i] * expected_factor;
            double nm = m[e][i] + (g - m[e][i]) * share1, nv = v[e][i] * (double)beta2 + g * g * share2;
            first.push_back(nm);
            expected.push_back(before[e][i] * (decays[e] ? keep : 1.0) - step * nm / (std::sqrt(nv) / root + epsilon));
        }
        compare("adamw first moment", firsts[e], first);
        compare("adamw", values[e], expected);
    }
    gradients[0][120] = NAN;
    before = values;
    factor[0] = 1;
    run(grid, THREADS, [&] {
        adamw(pointers.data(), sizes, decays, chunks.data(), factor.data(), squares.data(), lost, step, root, keep, beta2, share1, share2, epsilon, entries, chunk);
    });
    checked++;
    if (lost[0] != 1 || lost[1] != 0 || lost[2] != 0 || std::isfinite(squares[1]) || !std::isfinite(squares[0]) || values[0][120] != before[0][120] || values[0][0] == before[0][0]) {
        std::printf("adamw: a gradient that is not finite\n");
        wrong++;
    }
}

} // namespace
