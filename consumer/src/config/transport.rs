//! Warnings of connections that leave this machine unencrypted, and of a page that others can reach.

use std::net::IpAddr;

use crate::config::Config;

/// The warnings, each with the setting, the reason and the mend.
pub fn in_the_clear(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let protocol = config.kafka.get("security.protocol").unwrap_or("plaintext");
    let servers =
        config.kafka.get("bootstrap.servers").or(config.kafka.get("metadata.broker.list"));
    let far = servers.unwrap_or_default().split(',').find(|server| !is_here(host_of(server)));
    if let Some(server) = far.filter(|_| !protocol.to_ascii_lowercase().ends_with("ssl")) {
        warnings.push(format!(
            "`kafka.security.protocol` is {protocol}, so records travel to {} unencrypted; set it \
             to \"ssl\" or \"sasl_ssl\"",
            server.trim()
        ));
    }
    if let Some(host) = config.database.target.in_the_clear().filter(|host| !is_here(host)) {
        warnings.push(format!(
            "`database.url` lets the connection to {host} be unencrypted; add sslmode=verify-full and \
             sslrootcert=FILE (MySQL: ssl-mode=VERIFY_IDENTITY and ssl-ca=FILE)"
        ));
    }
    if let Some(address) = config.http.filter(|address| !address.ip().is_loopback()) {
        warnings.push(format!(
            "`http.listen` is {address}: who reaches it sees topics, tables, offsets and errors, for there \
             is no login; let only people reach it who may"
        ));
        if config.page.actions.is_some() {
            warnings.push(
                "`http.actions` is on, and the token travels to this page unencrypted; let the page be \
                 reached by way of a tunnel or a proxy with TLS"
                    .to_owned(),
            );
        }
    }
    warnings
}

/// The host of `host:port`, `[host]:port` or `protocol://host:port`.
fn host_of(server: &str) -> &str {
    let server = server.trim();
    let address = server.split_once("://").map_or(server, |(_, address)| address);
    if let Some((host, _)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return host;
    }
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Whether `host` is this machine: a loopback address or a socket's folder.
fn is_here(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || host.starts_with('/')
        || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LEAST;
    use crate::config::environment::Variables;

    fn warned(servers: &str, protocol: &str, url: &str) -> Vec<String> {
        let text = format!(
            "name = \"scores\"\nkafka = {{ \"bootstrap.servers\" = \"{servers}\", \
             \"security.protocol\" = \"{protocol}\" }}\n\
             database = {{ url = \"{url}\" }}\n[[route]]\ntopic = \"scores\""
        );
        in_the_clear(&Config::read(&text, &Variables::new()).unwrap())
    }

    #[test]
    fn what_leaves_the_machine_unencrypted_is_warned_of() {
        let here = "postgres://app@127.0.0.1/app";
        for servers in ["localhost:9092", "127.0.0.1:9092,[::1]:9092", "PLAINTEXT://localhost:9092"]
        {
            assert_eq!(warned(servers, "plaintext", here), Vec::<String>::new(), "{servers}");
        }
        for (protocol, warnings) in [("sasl_plaintext", 1), ("PLAINTEXT", 1), ("sasl_ssl", 0)] {
            let told = warned("localhost:9092, kafka.example:9092", protocol, here);
            assert_eq!(told.len(), warnings, "{told:?}");
            assert!(told.iter().all(|told| told.contains("kafka.example:9092")), "{told:?}");
        }
        for (sslmode, warnings) in
            [("", 1), ("?sslmode=disable", 1), ("?sslmode=require", 0), ("?sslmode=verify-full", 0)]
        {
            let url = format!("postgres://app:hush@db.example/app{sslmode}");
            let told = warned("localhost:9092", "plaintext", &url);
            assert_eq!(told.len(), warnings, "{told:?}");
            assert!(told.iter().all(|told| !told.contains("hush")), "{told:?}");
        }
        for (listen, warnings) in [("off", 0), ("[::1]:1", 0), (":9464", 1), ("10.0.0.7:9464", 1)] {
            let text = format!("{LEAST}[http]\nlisten = \"{listen}\"\n");
            let told = in_the_clear(&Config::read(&text, &Variables::new()).unwrap());
            assert_eq!(told.len(), warnings, "{told:?}");
        }
        for (listen, warnings) in [("[::1]:1", 0), ("10.0.0.7:9464", 2)] {
            let token = "actions = true\ntoken = \"hush-0123456789abcdef\"";
            let text = format!("{LEAST}[http]\nlisten = \"{listen}\"\n{token}\n");
            let told = in_the_clear(&Config::read(&text, &Variables::new()).unwrap());
            assert_eq!(told.len(), warnings, "{told:?}");
            assert!(told.iter().all(|told| !told.contains("hush")), "{told:?}");
        }
        let mysql = "mysql://app@db.example/app";
        assert_eq!(warned("localhost:9092", "plaintext", mysql).len(), 1);
        for url in [
            "sqlite://x.db",
            "mysql://app@db.example/app?ssl-mode=VERIFY_IDENTITY",
            "postgres:///app?host=/run/postgresql",
        ] {
            assert_eq!(warned("localhost:9092", "plaintext", url), Vec::<String>::new(), "{url}");
        }
    }
}
