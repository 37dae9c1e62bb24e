#!/usr/bin/env bash
# The stand-in's entry point, with the official image's contract: MARIADB_ROOT_PASSWORD,
# MARIADB_ALLOW_EMPTY_ROOT_PASSWORD, MARIADB_DATABASE, MARIADB_USER, MARIADB_PASSWORD (or the same with
# MYSQL_) and /docker-entrypoint-initdb.d count on the first start only.
set -euo pipefail

readonly DATA=/var/lib/mysql

main() {
    if (($# == 0)) || [[ $1 == -* ]]; then
        set -- mariadbd "$@"
    fi
    if [[ $1 == mariadbd || $1 == mysqld ]]; then
        set -- mariadbd "${@:2}"
        ((EUID != 0)) || become_mysql "$@"
        [[ -d $DATA/mysql ]] || initialise "${@:2}"
    fi
    exec "$@"
}

become_mysql() {
    chown -R mysql:mysql "$DATA"
    exec setpriv --reuid=mysql --regid=mysql --init-groups "$0" "$@"
}

# setting NAME: what MARIADB_NAME says, else MYSQL_NAME.
setting() {
    local mariadb=MARIADB_$1 mysql=MYSQL_$1
    printf '%s' "${!mariadb-${!mysql-}}"
}

# literal TEXT: as SQL must spell it.
literal() {
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\'\'}"
}

# initialise ARGUMENT...: makes the data directory; the arguments are the server's.
initialise() {
    local password server
    password=$(setting ROOT_PASSWORD)
    if [[ -z $password && -z $(setting ALLOW_EMPTY_ROOT_PASSWORD) ]]; then
        echo "Error: Database is uninitialized and password option is not specified" >&2
        echo "       Set MARIADB_ROOT_PASSWORD or MARIADB_ALLOW_EMPTY_ROOT_PASSWORD." >&2
        exit 1
    fi
    mariadb-install-db --datadir="$DATA" --skip-test-db --auth-root-authentication-method=normal \
        --skip-name-resolve >/dev/null
    # Without TCP, so that nobody outside takes this temporary server for the real one.
    mariadbd "$@" --skip-networking &
    server=$!
    until mariadb --user=root --execute='SELECT 1' >/dev/null 2>&1; do
        kill -0 "$server" || exit 1
        sleep 0.1
    done
    people "$password" | mariadb --user=root
    export MYSQL_PWD=$password
    run_start_scripts mariadb --user=root --database="$(setting DATABASE)"
    unset MYSQL_PWD
    kill "$server"
    wait "$server"
    printf '\nMariaDB init process done. Ready for start up.\n\n'
}

# people PASSWORD: the statements that make the database and its users.
people() {
    local database user
    database=$(setting DATABASE)
    user=$(setting USER)
    if [[ -n $database ]]; then
        echo "CREATE DATABASE IF NOT EXISTS \`${database//\`/\`\`}\`;"
    fi
    if [[ -n $user ]]; then
        echo "CREATE USER $(literal "$user")@'%' IDENTIFIED BY $(literal "$(setting PASSWORD)");"
        [[ -z $database ]] ||
            echo "GRANT ALL ON \`${database//[_%]/\\&}\`.* TO $(literal "$user")@'%';"
    fi
    echo "CREATE USER 'root'@'%' IDENTIFIED BY $(literal "$1");"
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(literal "$1");"
}

# run_start_scripts MARIADB...
run_start_scripts() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh) bash "$file" ;;
            *.sql) "$@" <"$file" ;;
            *.sql.gz) gunzip -c "$file" | "$@" ;;
        esac
    done
}

main "$@"
