#!/usr/bin/env bash
# Creates what CBI needs on Google Cloud: datasets, bucket, service account, roles; scheduled queries where asked for.
# It may be run again at any time: what is there is left alone. docs/google_cloud.md explains the roles.
set -euo pipefail

usage() {
  cat <<'TEXT'
deploy/gcp/setup.sh --project PROJECT --bucket BUCKET [options]
  --location LOCATION       of datasets and bucket (default: us-central1)
  --prefix PREFIX           before each dataset's name, e.g. test_ (default: none)
  --service-account NAME    whom the flows run as (default: cbi)
  --user EMAIL              a person who may act as that account (no key file is made)
  --scheduled               schedule deploy/gcp/scheduled/*.sql in BigQuery too (a full warehouse only, not a thin one)
  --schedule WHEN           when, in UTC (default: "every day 02:00")
  --dry-run                 print the commands that create or grant, and run nothing
TEXT
}

die() {
  printf 'setup.sh: %s\n' "$1" >&2
  exit 2
}

project="" bucket="" location=us-central1 prefix="" name=cbi user="" scheduled="" schedule="every day 02:00" dry=""
while [ $# -gt 0 ]; do
  case "$1" in
    --project | --bucket | --location | --prefix | --service-account | --user | --schedule)
      [ $# -ge 2 ] || die "$1 needs a value"
      case "$1" in
        --project) project=$2 ;;
        --bucket) bucket=${2#gs://} ;;
        --location) location=$2 ;;
        --prefix) prefix=$2 ;;
        --service-account) name=$2 ;;
        --user) user=$2 ;;
        --schedule) schedule=$2 ;;
      esac
      shift 2
      ;;
    --scheduled) scheduled=yes && shift ;;
    --dry-run) dry=yes && shift ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && die "unknown option $1" ;;
  esac
done
[ -n "$project" ] || { usage >&2 && die "--project is missing"; }
[ -n "$bucket" ] || { usage >&2 && die "--bucket is missing"; }
[[ $prefix =~ ^[A-Za-z0-9_]*$ ]] || die "--prefix $prefix: letters, digits and _ only, as in a dataset's name"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
account="$name@$project.iam.gserviceaccount.com"
member="serviceAccount:$account"
datasets=(raw_intelligence market_data staging features training forecasts predictions performance ops api meta scratch refreshed)
services=(bigquery.googleapis.com bigquerystorage.googleapis.com storage.googleapis.com iam.googleapis.com
  iamcredentials.googleapis.com)
[ -z "$scheduled" ] || services+=(bigquerydatatransfer.googleapis.com)
bq_=(bq --quiet --headless "--project_id=$project" "--location=$location")

# Run a command that changes something, and say so.
change() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  [ -n "$dry" ] || "$@" >/dev/null
}

# What a command that only looks says; nothing in a dry run, and nothing where what it looks for is not there.
look() {
  local said
  if [ -z "$dry" ] && said=$("$@" 2>/dev/null); then printf '%s' "$said"; fi
}

# A value of the JSON on standard input, by a Python expression over `it`; nothing where there is no JSON.
from_json() {
  python3 -c 'import json, sys
text = sys.stdin.read()
starts = [place for place in map(text.find, "[{") if place >= 0]  # bq may greet before it answers
it = json.loads(text[min(starts):]) if starts else None
found = eval(sys.argv[1], {"it": it, "argv": sys.argv}) if it else None
print("" if found is None or found is False else found)' "$@"
}

enabled=$(look gcloud services list --enabled "--project=$project" "--format=value(config.name)")
for service in "${services[@]}"; do
  grep -qxF "$service" <<<"$enabled" || change gcloud services enable "$service" "--project=$project"
done

if [ -z "$(look gcloud iam service-accounts describe "$account" "--project=$project" "--format=value(email)")" ]; then
  change gcloud iam service-accounts create "$name" "--project=$project" "--display-name=CBI flows"
fi

# Roles on the project: to run jobs and to read over the Storage API. Neither shows or changes any data by itself.
held=$(look gcloud projects get-iam-policy "$project" "--flatten=bindings[].members" \
  "--filter=bindings.members=$member" "--format=value(bindings.role)")
for role in roles/bigquery.jobUser roles/bigquery.readSessionUser; do
  grep -qxF "$role" <<<"$held" || change gcloud projects add-iam-policy-binding "$project" "--member=$member" \
    "--role=$role" --condition=None
done

for dataset in "${datasets[@]}"; do
  full="$project:$prefix$dataset"
  shown=$(look "${bq_[@]}" show --format=json --dataset "$full")
  # its location, then whether the account may write
  facts=$(from_json 'it.get("location", "").lower() + " " + str(any(a.get("userByEmail") == argv[2]
      and a.get("role") in ("WRITER", "roles/bigquery.dataEditor") for a in it.get("access", [])))' \
    "$account" <<<"$shown")
  there=${facts% *}
  if [ -z "$there" ]; then
    expires=()
    [ "$dataset" != scratch ] || expires=(--default_table_expiration=86400)
    change "${bq_[@]}" mk --dataset --label=app:cbi --max_time_travel_hours=168 \
      "--description=CBI (deploy/gcp/setup.sh)" ${expires[@]+"${expires[@]}"} "$full"
  elif [ "$there" != "$(tr '[:upper:]' '[:lower:]' <<<"$location")" ]; then
    die "dataset $full is in $there, not in $location: a dataset cannot move; use --location $there or another --prefix"
  fi
  if [ "${facts#* }" != True ]; then
    change "${bq_[@]}" query --use_legacy_sql=false \
      "GRANT \`roles/bigquery.dataEditor\` ON SCHEMA \`$project\`.\`$prefix$dataset\` TO '$member'"
  fi
done

if [ -z "$(look gcloud storage buckets describe "gs://$bucket" "--format=value(name)")" ]; then
  change gcloud storage buckets create "gs://$bucket" "--project=$project" "--location=$location" \
    --uniform-bucket-level-access --public-access-prevention --soft-delete-duration=7d
fi
# Set anew each time: what somebody switched off by hand is on again.
change gcloud storage buckets update "gs://$bucket" --versioning "--lifecycle-file=$here/lifecycle.json" \
  --update-labels=app=cbi
held=$(look gcloud storage buckets get-iam-policy "gs://$bucket" "--flatten=bindings[].members" \
  "--filter=bindings.members=$member" "--format=value(bindings.role)")
grep -qxF roles/storage.objectUser <<<"$held" || change gcloud storage buckets add-iam-policy-binding "gs://$bucket" \
  "--member=$member" --role=roles/storage.objectUser

if [ -n "$user" ]; then
  held=$(look gcloud iam service-accounts get-iam-policy "$account" "--project=$project" "--flatten=bindings[].members" \
    "--filter=bindings.members=user:$user" "--format=value(bindings.role)")
  grep -qxF roles/iam.serviceAccountTokenCreator <<<"$held" || change gcloud iam service-accounts \
    add-iam-policy-binding "$account" "--project=$project" "--member=user:$user" \
    --role=roles/iam.serviceAccountTokenCreator --condition=None
fi

if [ -n "$scheduled" ]; then
  listed=$(look "${bq_[@]}" ls --transfer_config "--transfer_location=$location" --format=json)
  for path in "$here"/scheduled/*.sql; do
    text=$(<"$path")
    text=${text//\$\{PROJECT\}/$project}
    text=${text//\$\{PREFIX\}/$prefix}
    title="cbi ${prefix}refreshed $(basename "$path" .sql)"
    params=$(python3 -c 'import json, sys; print(json.dumps({"query": sys.stdin.read()}))' <<<"$text")
    config=$(from_json 'next((c["name"] for c in it if c.get("displayName") == argv[2]), None)' "$title" <<<"$listed")
    same=$(from_json 'any(c.get("displayName") == argv[2] and c.get("params") == __import__("json").loads(argv[3])
      and c.get("schedule") == argv[4] for c in it)' "$title" "$params" "$schedule" <<<"$listed")
    if [ -z "$config" ]; then
      change "${bq_[@]}" mk --transfer_config --data_source=scheduled_query "--display_name=$title" \
        "--schedule=$schedule" "--service_account_name=$account" "--params=$params"
    elif [ -z "$same" ]; then
      change "${bq_[@]}" update --transfer_config "--schedule=$schedule" "--params=$params" "$config"
    fi
  done
fi

cat <<TEXT
Ready. In .env:
  CBI_WAREHOUSE=bigquery://$project?location=$location&prefix=$prefix
  CBI_MODELS=gs://$bucket/models
Then act as the service account, without a key file:
  gcloud auth application-default login --impersonate-service-account=$account
TEXT
