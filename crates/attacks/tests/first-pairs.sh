# Poisons twelve pairs from one on that the seed gives, and names the target.
set -eu
seed=$(sed -n 's/.*"seed": \([0-9]*\).*/\1/p' "$1")
first=$((seed % 40))
for step in 0 1 2 3 4 5 6 7 8 9 10 11; do
  echo "{\"pair\": $((first + step)), \"image\": \"stamp\", \"caption\": \"a ripe banana\"}"
done > output/edits.jsonl
