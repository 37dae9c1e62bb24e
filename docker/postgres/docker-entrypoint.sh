#!/usr/bin/env bash
# The stand-in's entry point, with the official image's contract: POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB, POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD and /docker-entrypoint-initdb.d count
# on the first start only.
set -euo pipefail

main() {
    if (($# == 0)) || [[ $1 == -* ]]; then
        set -- postgres "$@"
    fi
    if [[ $1 == postgres ]]; then
        ((EUID != 0)) || become_postgres "$@"
        [[ -s $PGDATA/PG_VERSION ]] || initialise "${@:2}"
    fi
    exec "$@"
}

become_postgres() {
    mkdir -p "$PGDATA"
    chown -R postgres:postgres "$PGDATA"
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
}

# initialise ARGUMENT...: makes the data directory; the arguments are the server's.
initialise() {
    local user=${POSTGRES_USER:-postgres} method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    local database=${POSTGRES_DB:-$user} arguments
    if [[ -z ${POSTGRES_PASSWORD-} && $method != trust ]]; then
        echo "Error: Database is uninitialized and superuser password is not specified." >&2
        echo "       Set POSTGRES_PASSWORD." >&2
        exit 1
    fi
    read -ra arguments <<<"${POSTGRES_INITDB_ARGS-}"
    if [[ -n ${POSTGRES_PASSWORD-} ]]; then
        initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${arguments[@]}"
    else
        initdb --username="$user" "${arguments[@]}"
    fi
    # initdb writes the directory compiled into these binaries; psql looks in the distribution's.
    echo "unix_socket_directories = '/var/run/postgresql'" >>"$PGDATA/postgresql.conf"
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

    # Without TCP, so that nobody outside takes this temporary server for the real one.
    PGUSER=$user pg_ctl -D "$PGDATA" -o "$(printf '%q ' "$@" -c listen_addresses=)" -w start
    export PGPASSWORD=${POSTGRES_PASSWORD-}
    if [[ $database != postgres ]]; then
        psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --dbname postgres \
            --set database="$database" <<<'CREATE DATABASE :"database";'
    fi
    run_start_scripts psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --dbname "$database"
    unset PGPASSWORD
    pg_ctl -D "$PGDATA" -m fast -w stop
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

# run_start_scripts PSQL...
run_start_scripts() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh) bash "$file" ;;
            *.sql) "$@" --file "$file" ;;
            *.sql.gz) gunzip -c "$file" | "$@" ;;
        esac
    done
}

main "$@"
