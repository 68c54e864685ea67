#!/usr/bin/env bash
# final_state.sh PUSHED.ndjson: what the EHR stand-in believes after all pushes, one line for each patient and
# rule: patient, rule, indicator, open or resolved. Same columns as tests/fixtures/sample/expected.tsv.
set -euo pipefail
jq -rn '
  reduce inputs as $push ({};
    ($push.body // $push) as $body
    | ($body.extension["org.osteoguard.delivery"]) as $d
    | reduce ($d.retracts // [])[] as $r (.; if .[$r.uuid] then .[$r.uuid].state = "resolved" else . end)
    | reduce $body.cards[] as $c (.; .[$c.uuid] = {patient: $d.patientId, rule: $c.source.topic.code,
                                                     indicator: $c.indicator, state: "open"}))
  | [.[]] | group_by([.patient, .rule])[]
  | (map(select(.state == "open")) | last) // last
  | [.patient, .rule, .indicator, .state] | @tsv' "$1" | LC_ALL=C sort
