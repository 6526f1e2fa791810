// Compares every kernel of src/cuda with a plain loop in f64 on small, odd shapes, with the threads of a block in both
// orders. Compiled with -DELEMENT=float by tests/cuda_logic.rs. Says what it compared; ends with 1 where one differs.
#include "cuda_emulator.h"

#include "../../src/cuda/all.cu"

using std::vector;

namespace {

unsigned long long state = 1;
int checked = 0, wrong = 0;

float random_value() {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)((double)(state >> 40) / (1 << 23) - 1.0);
}

vector<float> random_values(size_t count) {
    vector<float> values(count);
    for (float &value : values) {
        value = random_value();
    }
    return values;
}

void compare(const char *what, const vector<float> &found, const vector<double> &expected) {
    checked++;
    for (size_t i = 0; i < expected.size(); i++) {
        double distance = std::fabs(found[i] - expected[i]);
        if (!(distance <= 2e-5 * std::max(1.0, std::fabs(expected[i])))) {
            std::printf("%s[%zu]: found %.9g, expected %.9g\n", what, i, found[i], expected[i]);
            wrong++;
            return;
        }
    }
}

// A launch as cuda/mod.rs makes it.
template <typename F> void run(dim3 grid, dim3 block, F thread) {
    emulator::launch(grid, block, thread);
}
dim3 by_columns(int columns) {
    return {(unsigned)(columns + TILE_COLUMNS - 1) / TILE_COLUMNS, 1, 1};
}
// Threads of a block that sums columns, and how many blocks side by side.
dim3 pack_tile(int columns) {
    unsigned lanes = 1;
    while (lanes < 32 && lanes * PACK < (unsigned)columns) lanes *= 2;
    return {lanes, TILE_THREADS / lanes, 1};
}
dim3 pack_tiles(int columns, int parts) {
    unsigned width = pack_tile(columns).x * PACK;
    return {(columns + width - 1) / width, (unsigned)parts, 1};
}
dim3 over(int count) {
    return {(unsigned)(count + 255) / 256, 1, 1};
}
const dim3 THREADS = {256, 1, 1};
const dim3 TILE = {TILE_COLUMNS, TILE_ROWS, 1};
unsigned up(unsigned value, unsigned by) {
    return (value + by - 1) / by;
}

void test_elementwise() {
    int count = 1000, columns = 7, rows = 143;
    vector<float> a = random_values(count + 1), b = random_values(count + 1), y(count + 1), z(count + 1);
    vector<double> sum, gate, gelu, slope, row;
    for (int i = 0; i < count; i++) {
        double s = 1 / (1 + std::exp(-1.702 * a[i]));
        sum.push_back((double)a[i] + b[i]);
        gate.push_back(a[i] > 0 ? b[i] : 0);
        gelu.push_back(a[i] * s);
        slope.push_back(b[i] * (s + 1.702 * a[i] * s * (1 - s)));
        row.push_back((double)a[i] + b[i % columns]);
    }
    run({2, 1, 1}, THREADS, [&] { add(a.data(), b.data(), y.data(), count); });
    compare("add", y, sum);
    run(over(count), THREADS, [&] { mask(a.data(), b.data(), y.data(), count); });
    compare("mask", y, gate);
    run(over(count), THREADS, [&] { quick_gelu_forward(a.data(), y.data(), count); });
    compare("quick_gelu_forward", y, gelu);
    run(over(count), THREADS, [&] { quick_gelu_backward(a.data(), b.data(), y.data(), count); });
    compare("quick_gelu_backward", y, slope);
    for (int i = 0; i < count; i++) {
        double below = 0.5 * (1 + std::erf(a[i] / std::sqrt(2.0)));
        gelu[i] = a[i] * below;
        slope[i] = b[i] * (below + a[i] * std::exp(-0.5 * a[i] * a[i]) / std::sqrt(2 * M_PI));
    }
    run(over(count), THREADS, [&] { gelu_forward(a.data(), y.data(), count); });
    compare("gelu_forward", y, gelu);
    run(over(count), THREADS, [&] { gelu_backward(a.data(), b.data(), y.data(), count); });
    compare("gelu_backward", y, slope);
    run(over(count), THREADS, [&] { add_row(a.data(), b.data(), y.data(), count, columns); });
    compare("add_row", y, row);
    z = a;
    run(over(count), THREADS, [&] { add_row_inplace(z.data(), b.data(), count, columns); });
    compare("add_row_inplace", z, row);
    run(over(count), THREADS, [&] { scale(a.data(), y.data(), 2.0f, count); });
    compare("scale", y, [&] { vector<double> e; for (int i = 0; i < count; i++) e.push_back(2.0 * a[i]); return e; }());
    int parts = 3, each = 64;
    columns = 7;
    vector<float> partial(parts * columns), sums(columns);
    vector<double> expected(columns);
    for (int i = 0; i < rows * columns; i++) {
        expected[i % columns] += a[i % 1000] * 0 + (i < 1000 ? a[i] : 0);
    }
    vector<float> x(rows * columns);
    std::copy(a.begin(), a.begin() + 1000, x.begin());
    run(pack_tiles(columns, parts), pack_tile(columns), [&] { column_sums(x.data(), partial.data(), rows, columns, each); });
    run(by_columns(columns), TILE, [&] { join_sums(partial.data(), sums.data(), parts, columns); });
    compare("column_sums", sums, expected);
}

void test_pool() {
    int n = 2, h = 5, w = 7, c = 3, size = 2, oh = 2, ow = 3;
    vector<float> x = random_values(n * h * w * c), dy = random_values(n * oh * ow * c);
    vector<float> y(dy.size()), dx(x.size());
    vector<double> ey(y.size()), ex(x.size());
    for (int i = 0; i < n; i++)
        for (int r = 0; r < oh * size; r++)
            for (int q = 0; q < ow * size; q++)
                for (int k = 0; k < c; k++) {
                    size_t from = ((i * h + r) * w + q) * c + k, to = ((i * oh + r / 2) * ow + q / 2) * c + k;
                    ey[to] += x[from] / 4.0;
                    ex[from] = dy[to] / 4.0;
                }
    int out = y.size(), in = x.size();
    int packs = up(c, PACK);
    run(over(out), THREADS, [&] { average_pool_forward(x.data(), y.data(), size, h, w, c, out / c * packs); });
    compare("average_pool_forward", y, ey);
    run(over(in), THREADS, [&] { average_pool_backward(dy.data(), dx.data(), size, h, w, c, in / c * packs); });
    compare("average_pool_backward", dx, ex);
    int tokens = 6;
    vector<float> map = random_values(n * 5 * c), positions = random_values(tokens * c), t(n * tokens * c);
    vector<float> dt = random_values(n * tokens * c), dmap(map.size());
    vector<double> et(t.size()), em(map.size());
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c; k++) {
            double mean = 0;
            for (int p = 0; p < 5; p++) {
                mean += map[(i * 5 + p) * c + k] / 5.0;
                et[(i * tokens + p + 1) * c + k] = (double)map[(i * 5 + p) * c + k] + positions[(p + 1) * c + k];
                em[(i * 5 + p) * c + k] = dt[(i * tokens + p + 1) * c + k] + dt[i * tokens * c + k] / 5.0;
            }
            et[i * tokens * c + k] = mean + positions[k];
        }
    run(over(n * c), THREADS, [&] { mean_token_forward(map.data(), positions.data(), t.data(), tokens, c, n * c); });
    compare("mean_token_forward", t, et);
    vector<double> ep(t.size()), ed(map.size());
    for (int i = 0; i < n * tokens * c; i++) {
        int k = i % c, at = i / c % tokens, sample = i / c / tokens;
        ep[i] = (at ? map[(sample * 5 + at - 1) * c + k] : x[k]) + positions[at * c + k];
        if (at) ed[(sample * 5 + at - 1) * c + k] = dt[i];
    }
    int all = n * tokens * c;
    run(over(all), THREADS, [&] { prepend_token_forward(map.data(), x.data(), positions.data(), t.data(), tokens, c, all); });
    compare("prepend_token_forward", t, ep);
    run(over(n * 5 * c), THREADS, [&] { drop_token(dt.data(), dmap.data(), tokens, c, n * 5 * c); });
    compare("drop_token", dmap, ed);
    run(over(n * 5 * c), THREADS, [&] { mean_token_backward(dt.data(), dmap.data(), tokens, c, n * 5 * c); });
    compare("mean_token_backward", dmap, em);
}

void test_batch_norm(int rows, int columns, float offset) {
    int count = rows * columns, each = 32, parts = up(rows, each);
    vector<float> x = random_values(count), residual = random_values(count), dy = random_values(count);
    vector<float> affine = random_values(2 * columns), y(count), dx(count), mean(columns), variance(columns);
    for (float &value : x) value += offset;
    vector<float> means(parts * columns), squares(parts * columns), partial(parts * 2 * columns), sums(2 * columns);
    float epsilon = 1e-5f;
    dim3 tiles = pack_tiles(columns, parts), tile = pack_tile(columns);
    run(tiles, tile, [&] { batch_moments(x.data(), means.data(), squares.data(), rows, columns, each); });
    run(by_columns(columns), TILE, [&] {
        join_moments(means.data(), squares.data(), mean.data(), variance.data(), parts, rows, columns, each);
    });
    vector<double> em(columns), ev(columns), ey(count), edx(count), es(2 * columns);
    for (int i = 0; i < count; i++) em[i % columns] += (double)x[i] / rows;
    for (int i = 0; i < count; i++) ev[i % columns] += std::pow(x[i] - em[i % columns], 2) / rows;
    compare("batch_moments mean", mean, em);
    compare("batch_moments variance", variance, ev);
    auto normal = [&](int i) { return (x[i] - em[i % columns]) / std::sqrt(ev[i % columns] + epsilon); };
    for (int i = 0; i < count; i++)
        ey[i] = std::max(0.0, normal(i) * affine[i % columns] + affine[columns + i % columns] + residual[i]);
    const float *px = x.data(), *pa = affine.data(), *pm = mean.data(), *pv = variance.data();
    run(over(count), THREADS, [&] {
        batch_norm_residual_forward(px, pa, pm, pv, residual.data(), y.data(), epsilon, 0.0f, count, columns);
    });
    compare("batch_norm_residual_forward", y, ey);
    auto gradient = [&](int i) { return y[i] <= 0 ? 0.0 : dy[i]; };
    for (int i = 0; i < count; i++) {
        es[i % columns] += gradient(i) * normal(i);
        es[columns + i % columns] += gradient(i);
    }
    for (int i = 0; i < count; i++) {
        int c = i % columns;
        edx[i] = affine[c] / std::sqrt(ev[c] + epsilon) * (gradient(i) - es[columns + c] / rows - normal(i) * es[c] / rows);
    }
    run(tiles, tile, [&] {
        batch_norm_sums(px, y.data(), dy.data(), pm, pv, partial.data(), epsilon, 0.0f, rows, columns, each);
    });
    run(by_columns(2 * columns), TILE, [&] { join_sums(partial.data(), sums.data(), parts, 2 * columns); });
    compare("batch_norm_sums", sums, es);
    float share = 1.0f / rows;
    run(over(count), THREADS, [&] {
        batch_norm_backward(px, y.data(), dy.data(), pa, pm, pv, sums.data(), dx.data(), epsilon, 0.0f, share, count, columns);
    });
    compare("batch_norm_backward", dx, edx);
    for (int i = 0; i < count; i++) ey[i] = normal(i) * affine[i % columns] + affine[columns + i % columns];
    run(over(count), THREADS, [&] { batch_norm_forward(px, pa, pm, pv, y.data(), epsilon, -INFINITY, count, columns); });
    compare("batch_norm_forward", y, ey);
}

void test_layer_norm(int rows, int columns) {
    int count = rows * columns, each = 4, parts = up(rows, each);
    vector<float> x = random_values(count), dy = random_values(count), gamma = random_values(columns);
    vector<float> beta = random_values(columns), y(count), dx(count), means(rows), inverses(rows);
    vector<float> partial(parts * 2 * columns), sums(2 * columns);
    float epsilon = 1e-5f;
    vector<double> ey(count), edx(count), es(2 * columns);
    for (int r = 0; r < rows; r++) {
        double mean = 0, variance = 0, first = 0, second = 0;
        for (int c = 0; c < columns; c++) mean += (double)x[r * columns + c] / columns;
        for (int c = 0; c < columns; c++) variance += std::pow(x[r * columns + c] - mean, 2) / columns;
        double inverse = 1 / std::sqrt(variance + epsilon);
        for (int c = 0; c < columns; c++) {
            int i = r * columns + c;
            double n = (x[i] - mean) * inverse;
            ey[i] = n * gamma[c] + beta[c];
            es[c] += dy[i] * n;
            es[columns + c] += dy[i];
            first += (double)dy[i] * gamma[c] / columns;
            second += dy[i] * gamma[c] * n / columns;
        }
        for (int c = 0; c < columns; c++) {
            int i = r * columns + c;
            edx[i] = inverse * (dy[i] * gamma[c] - first - (x[i] - mean) * inverse * second);
        }
    }
    dim3 grid = {up(rows, 4), 1, 1}, block = {128, 1, 1};
    run(grid, block, [&] { layer_norm_forward(x.data(), gamma.data(), beta.data(), y.data(), epsilon, rows, columns); });
    compare("layer_norm_forward", y, ey);
    run(grid, block, [&] {
        layer_norm_backward(x.data(), gamma.data(), dy.data(), dx.data(), means.data(), inverses.data(), epsilon, rows, columns);
    });
    compare("layer_norm_backward", dx, edx);
    run(pack_tiles(columns, parts), pack_tile(columns), [&] {
        layer_norm_sums(x.data(), dy.data(), means.data(), inverses.data(), partial.data(), rows, columns, each);
    });
    run(by_columns(2 * columns), TILE, [&] { join_sums(partial.data(), sums.data(), parts, 2 * columns); });
    compare("layer_norm_sums", sums, es);
}

void test_rows(int rows, int columns) {
    int count = rows * columns, queries = 3, causal = columns >= queries;
    vector<float> x = random_values(count), dy = random_values(count), y(count), dx(count), w = x, slopes = dy;
    vector<unsigned> targets(rows);
    vector<double> ew(count), es(count), en(count), ed(count), el(rows), eg(count);
    double mean = 0;
    for (int r = 0; r < rows; r++) {
        int seen = causal ? r % queries + 1 : columns, target = r * 5 % columns;
        double sum = 0, dot = 0, norm = 0, along = 0, all = 0;
        const float *v = &x[r * columns], *g = &dy[r * columns];
        for (int c = 0; c < seen; c++) sum += std::exp(v[c] * 0.5);
        for (int c = 0; c < seen; c++) ew[r * columns + c] = std::exp(v[c] * 0.5) / sum;
        for (int c = 0; c < columns; c++) dot += ew[r * columns + c] * g[c], norm += (double)v[c] * v[c], all += std::exp(v[c]);
        norm = std::sqrt(norm);
        for (int c = 0; c < columns; c++) along += v[c] / norm * g[c];
        for (int c = 0; c < columns; c++) {
            int i = r * columns + c;
            es[i] = ew[i] * (g[c] - dot) * 0.5;
            en[i] = v[c] / norm;
            ed[i] = (g[c] - en[i] * along) / norm;
            eg[i] = (std::exp(v[c]) / all - (c == target)) * 3.0 / rows;
        }
        targets[r] = target;
        el[r] = std::log(all) - v[target];
        mean += el[r] / rows;
    }
    dim3 grid = {up(rows, 4), 1, 1}, block = {128, 1, 1};
    run(grid, block, [&] { softmax_rows(w.data(), 0.5f, queries, columns, causal, rows); });
    compare("softmax_rows", w, ew);
    run(grid, block, [&] { softmax_backward(w.data(), slopes.data(), 0.5f, columns, rows); });
    compare("softmax_backward", slopes, es);
    run(grid, block, [&] { l2_normalize_forward(x.data(), y.data(), rows, columns); });
    compare("l2_normalize_forward", y, en);
    run(grid, block, [&] { l2_normalize_backward(x.data(), y.data(), dy.data(), dx.data(), rows, columns); });
    compare("l2_normalize_backward", dx, ed);
    vector<float> losses(rows), loss(1), gradient = {3.0f};
    run(grid, block, [&] { cross_entropy_forward(x.data(), targets.data(), losses.data(), rows, columns); });
    compare("cross_entropy_forward", losses, el);
    run({1, 1, 1}, THREADS, [&] { mean_of(losses.data(), loss.data(), rows); });
    compare("mean_of", loss, {mean});
    run(grid, block, [&] {
        cross_entropy_backward(x.data(), targets.data(), gradient.data(), dx.data(), rows, columns);
    });
    compare("cross_entropy_backward", dx, eg);
}

void test_attention(int tokens, int heads, int depth, bool causal) {
    int width = heads * depth, samples = 2, rows = samples * tokens;
    vector<float> qkv = random_values(3 * rows * width), dy = random_values(rows * width), y(rows * width), d(3 * rows * width);
    vector<double> ey(rows * width), ed(3 * rows * width);
    double scale = 1 / std::sqrt((double)depth);
    for (int sample = 0; sample < samples; sample++)
        for (int head = 0; head < heads; head++) {
            auto at = [&](int part, int token, int c) { return ((sample * tokens + token) * 3 + part) * width + head * depth + c; };
            auto out = [&](int token, int c) { return (sample * tokens + token) * width + head * depth + c; };
            for (int i = 0; i < tokens; i++) {
                int seen = causal ? i + 1 : tokens;
                vector<double> weights(seen), slopes(seen);
                double sum = 0, mean = 0;
                for (int j = 0; j < seen; j++) {
                    double dot = 0;
                    for (int c = 0; c < depth; c++) dot += (double)qkv[at(0, i, c)] * qkv[at(1, j, c)];
                    sum += weights[j] = std::exp(dot * scale);
                }
                for (int j = 0; j < seen; j++) {
                    weights[j] /= sum;
                    for (int c = 0; c < depth; c++) {
                        ey[out(i, c)] += weights[j] * qkv[at(2, j, c)];
                        ed[at(2, j, c)] += weights[j] * dy[out(i, c)];
                        slopes[j] += (double)dy[out(i, c)] * qkv[at(2, j, c)];
                    }
                    mean += weights[j] * slopes[j];
                }
                for (int j = 0; j < seen; j++)
                    for (int c = 0; c < depth; c++) {
                        double slope = weights[j] * (slopes[j] - mean) * scale;
                        ed[at(0, i, c)] += slope * qkv[at(1, j, c)];
                        ed[at(1, j, c)] += slope * qkv[at(0, i, c)];
                    }
            }
        }
    dim3 grid = {(unsigned)(samples * heads), 1, 1};
    run(grid, {128, 1, 1}, [&] { attention_forward(qkv.data(), y.data(), (float)scale, tokens, heads, depth, causal); });
    compare("attention_forward", y, ey);
    run(grid, THREADS, [&] { attention_gradient(qkv.data(), dy.data(), d.data(), (float)scale, tokens, heads, depth, causal); });
    compare("attention_gradient", d, ed);
}

void test_patches(int stride, int padding, int kh, int kw) {
    int n = 2, h = 7, w = 5, c = 3, oh = (h + 2 * padding - kh) / stride + 1, ow = (w + 2 * padding - kw) / stride + 1;
    int values = n * h * w * c, patch_values = n * oh * ow * kh * kw * c;
    vector<float> x = random_values(values), g = random_values(patch_values), p(patch_values), dx(values);
    vector<double> ep(patch_values), ex(values);
    int at = 0;
    for (int i = 0; i < n; i++)
        for (int oy = 0; oy < oh; oy++)
            for (int ox = 0; ox < ow; ox++)
                for (int ky = 0; ky < kh; ky++)
                    for (int kx = 0; kx < kw; kx++)
                        for (int k = 0; k < c; k++, at++) {
                            int row = oy * stride + ky - padding, column = ox * stride + kx - padding;
                            if (row < 0 || row >= h || column < 0 || column >= w) continue;
                            int from = ((i * h + row) * w + column) * c + k;
                            ep[at] = x[from];
                            ex[from] += g[at];
                        }
    run(over(patch_values), THREADS, [&] { gather_patches(x.data(), p.data(), h, w, c, kh, kw, oh, ow, stride, padding, patch_values); });
    compare("gather_patches", p, ep);
    run(over(values), THREADS, [&] { scatter_patches(g.data(), dx.data(), h, w, c, kh, kw, oh, ow, stride, padding, values); });
    compare("scatter_patches", dx, ex);
}

} // namespace

#include "logic_tables.h"

int main() {
    for (bool backwards : {false, true}) {
        emulator::backwards = backwards;
        state = 1; // the same values in both orders
        test_elementwise();
        test_adamw();
        test_pool();
        for (int columns : {1, 5, 33, 70}) {
            test_batch_norm(1, columns, 0.0f);
            test_batch_norm(77, columns, 0.0f);
            test_batch_norm(100, columns, 30.0f);
            test_layer_norm(11, columns);
            test_rows(10, columns);
        }
        test_layer_norm(3, 700);
        test_patches(1, 1, 3, 3);
        test_patches(2, 1, 3, 3);
        test_patches(2, 0, 2, 2);
        test_patches(3, 2, 5, 2);
        test_embedding(1, 3, 4);
        test_embedding(100, 7, 33);
        test_embedding(5000, 40, 3);
        test_layer_norm(5, 512);
        test_batch_norm(40, 64, 1.0f);
        test_attention(15, 2, 16, true);
        test_attention(50, 1, 64, false);
        test_attention(77, 1, 32, true);
    }
    std::printf("%d comparisons, %d wrong\n", checked, wrong);
    return wrong == 0 ? 0 : 1;
}
