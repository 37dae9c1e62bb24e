//! `[http]`: where the page is served, who may act there, and where the other members are.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use axum::http::Uri;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use crate::config::error::{ConfigError, refuse};

/// The least characters of a token: nobody finds one by trying.
const TOKEN_CHARS_MIN: usize = 16;

/// What is served over HTTP beside what everybody may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// Who may replay and discard dead letters from the page; `None`: nobody.
    pub actions: Option<Token>,
    /// The URLs of all members of the pipeline; empty: they are asked for at Kafka.
    pub members: Vec<String>,
}

/// A secret that a person gives to act on the page. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpFile {
    listen: String,
    actions: bool,
    token: Option<String>,
    members: Vec<String>,
}

impl Token {
    /// Whether this is the token; takes as long for a wrong one as for the right one.
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Default for HttpFile {
    fn default() -> Self {
        let listen = "127.0.0.1:9464".to_owned();
        Self { listen, actions: false, token: None, members: Vec::new() }
    }
}

impl HttpFile {
    pub(super) fn check(self) -> Result<(Option<SocketAddr>, HttpSettings), ConfigError> {
        let listen = listen_of(&self.listen)?;
        let actions = if self.actions { Some(actions_of(self.token)?) } else { None };
        let members =
            self.members.iter().map(|member| member_of(member)).collect::<Result<_, _>>()?;
        Ok((listen, HttpSettings { actions, members }))
    }
}

fn actions_of(token: Option<String>) -> Result<Token, ConfigError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        let why = "is missing, and with `http.actions` everybody who reaches the page could discard \
                   records: set it to a secret, for instance by WRITE_BEHIND_HTTP_TOKEN_FILE, or \
                   switch `http.actions` off";
        return Err(refuse("http.token", why));
    };
    // It goes into a header.
    if token.chars().count() < TOKEN_CHARS_MIN || !token.chars().all(|c| c.is_ascii_graphic()) {
        let why = "must have 16 characters or more, of ASCII and without blanks; `openssl rand -hex 16` \
                   prints one";
        return Err(refuse("http.token", why));
    }
    Ok(Token(token))
}

fn member_of(member: &str) -> Result<String, ConfigError> {
    let member = member.trim().trim_end_matches('/');
    let uri: Option<Uri> = member.parse().ok();
    let is_plain = uri.is_some_and(|uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some() && matches!(uri.path(), "" | "/")
    });
    if is_plain {
        return Ok(member.to_owned());
    }
    let why = "names something that is no URL of a consumer; write each like http://10.0.0.7:9464";
    Err(refuse("http.members", why))
}

fn listen_of(listen: &str) -> Result<Option<SocketAddr>, ConfigError> {
    let listen = listen.trim();
    if listen.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let why = "must be an address and a port such as \"127.0.0.1:9464\", \":9464\" for every \
               address of this machine, or \"off\"";
    address_of(listen).map(Some).ok_or_else(|| refuse("http.listen", why))
}

fn address_of(listen: &str) -> Option<SocketAddr> {
    if let Ok(address) = listen.parse() {
        return Some(address);
    }
    let (host, port) = listen.rsplit_once(':')?;
    let host = match host {
        "" | "*" => Ipv4Addr::UNSPECIFIED,
        _ if host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST,
        _ => return None,
    };
    Some(SocketAddr::from((host, port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LEAST};

    const SECRET: &str = "hush-0123456789abcdef";

    fn read(variables: &[(&str, &str)]) -> Result<HttpSettings, String> {
        let owned = |(name, value): &(&str, &str)| {
            (format!("WRITE_BEHIND_HTTP_{name}"), (*value).to_owned())
        };
        let config = Config::read(LEAST, &variables.iter().map(owned).collect());
        config.map(|config| config.page).map_err(|error| error.to_string())
    }

    #[test]
    fn nobody_may_act_on_the_page_unless_it_is_switched_on_with_a_token() {
        for off in [&[][..], &[("TOKEN", SECRET)], &[("ACTIONS", "false"), ("TOKEN", SECRET)]] {
            assert_eq!(read(off).unwrap().actions, None, "{off:?}");
        }
        let token = read(&[("ACTIONS", "true"), ("TOKEN", SECRET)]).unwrap().actions.unwrap();
        assert!(token.is(SECRET.as_bytes()));
        for wrong in [b"".as_slice(), b"hush", b"hush-0123456789abcdeX", b"hush-0123456789abcdef0"]
        {
            assert!(!token.is(wrong));
        }
        assert!(!format!("{token:?}").contains("hush"));
        let file = format!("{LEAST}[http]\nactions = true\ntoken = \"{SECRET}\"\n");
        let config = Config::read(&file, &std::collections::BTreeMap::new()).unwrap();
        assert!(config.page.actions.is_some());
    }

    #[test]
    fn a_token_that_is_missing_or_weak_is_refused_and_not_shown() {
        for (token, told) in [
            ("", "`http.token`: is missing"),
            ("hush", "must have 16 characters"),
            ("hush with blanks 0123456789", "without blanks"),
            ("hush-größe-0123456789", "of ASCII"),
        ] {
            let refused = read(&[("ACTIONS", "true"), ("TOKEN", token)]).unwrap_err();
            assert!(refused.contains(told) && !refused.contains("hush"), "{refused}");
        }
        assert!(read(&[("ACTIONS", "yes")]).unwrap_err().contains("is neither true nor false"));
    }

    #[test]
    fn members_are_urls() {
        let members = read(&[("MEMBERS", "http://a:9464, http://[::1]:9464/")]).unwrap().members;
        assert_eq!(members, ["http://a:9464", "http://[::1]:9464"]);
        for wrong in ["a:9464", "https://a:9464", "http://a:9464/status", "http://"] {
            let refused = read(&[("MEMBERS", wrong)]).unwrap_err();
            assert!(refused.starts_with("`http.members`: names something"), "{refused}");
        }
    }
}
