#!/bin/sh
# The smallest program that a plan can name as a defense: it returns the weights unchanged.
#
#   defenses:
#     - none
#     - { name: external, label: identity, program: sh examples/shell_defense/defense.sh, program-version: 1 }
#
# It is started in the job's folder, with the path of job.json. A real program reads its paths from the job.
set -eu
grep -q '"format": 1' "$1" || { echo "this program reads format 1 of jobs" >&2; exit 69; }
cp input/model.safetensors output/model.safetensors
