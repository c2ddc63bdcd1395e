#!/bin/bash
# Carries the records of one topic to another in capitals, each exactly once and
# in order, with nothing but curl (and jq, to read JSON). Whatever dies, start it
# again: it ends when all that was there is carried.
#
#   exactly-once.sh FROM TO JOB PARTITIONS GATEWAY...
set -o pipefail # of no answer jq makes no error
from=$1 to=$2 job=$3 partitions=$4
shift 4
gateways=("$@")

# call PATH [JSON] asks a gateway, and the next one next time where it failed.
call() {
  local url=${gateways[0]}$1
  shift
  if ! curl -sf -m 20 "$url" ${1:+-d @-} <<<"$1"; then
    sleep 0.05
    return 1
  fi
}
next_gateway() { gateways=("${gateways[@]:1}" "${gateways[0]}"); }

# carry moves what there is in one transaction after the other, until there is
# nothing more (0) or something failed (1): then its transaction is given up by
# beginning the next.
carry() {
  local txn at p batch records offsets more
  txn=$(call /v1/transactions "{\"transactionalId\":\"$job\",\"timeout\":\"30s\"}" | jq -ce .transaction) || return 1
  echo "begun $txn"
  while :; do
    at=$(call "/v1/groups/$job/offsets?topics=$from&requireStable=true" | jq -ce 'if all(.offsets[]; .error == null) then [.offsets[].offset | tonumber] else null end') || return 1
    records='[]' offsets='[]'
    for ((p = 0; p < partitions; p++)); do
      batch=$(call "/v1/topics/$from/partitions/$p/records?position.offset=$(jq "[.[$p], 0] | max" <<<"$at")&maxRecords=20&readCommitted=true") || return 1
      [ "$(jq '.records | length' <<<"$batch")" -gt 0 ] || continue
      records=$(jq -c --argjson before "$records" '$before + [.records[] | {key, value: (.value | @base64d | ascii_upcase | @base64)}]' <<<"$batch") || return 1
      offsets=$(jq -c --argjson before "$offsets" "\$before + [{topic: \"$from\", partition: $p, offset: .nextOffset}]" <<<"$batch") || return 1
    done
    [ "$records" != '[]' ] || return 0
    echo "read from $at"
    call "/v1/topics/$to/records" "{\"transaction\":$txn,\"records\":$records}" | jq -e 'all(.results[]; .error == null)' >/dev/null || return 1
    echo produced
    call "/v1/groups/$job/offsets" "{\"transaction\":$txn,\"offsets\":$offsets}" | jq -e 'all(.offsets[]; .error == null)' >/dev/null || return 1
    echo noted
    txn=$(call /v1/transactions:commit "{\"transaction\":$txn}" | jq -ce .next) || return 1
    echo "committed, next is $txn"
  done
}

until carry; do next_gateway; done
