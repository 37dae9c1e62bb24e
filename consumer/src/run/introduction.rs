//! What the log says at a start: who writes which topics where, and where to look.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::config::Config;
use crate::version;

/// The first line. `page`: where the HTTP side listens, if it does.
pub(super) fn first_line(config: &Config, page: Option<SocketAddr>) -> String {
    let mut line = format!("write-behind {}, pipeline {}: ", version::TOLD, config.name);
    for (place, route) in config.routes.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let _ = write!(line, "{comma}topic {} → {}", route.topic, route.table);
    }
    let _ = write!(line, " of {:?}", config.database.target);
    match page {
        Some(page) => {
            let _ = write!(line, "; page http://{page}");
        }
        None => line.push_str("; no page"),
    }
    line
}

/// The line when Kafka and the database have answered; `partitions`: of each route.
pub(super) fn ready_line(config: &Config, partitions: &[i32]) -> String {
    let of_route = |(route, partitions): (&crate::config::Route, &i32)| {
        let plural = if *partitions == 1 { "" } else { "s" };
        format!("topic {} has {partitions} partition{plural}", route.topic)
    };
    let told: Vec<String> = config.routes.iter().zip(partitions).map(of_route).collect();
    format!("Kafka and the database answer: {}", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LEAST;
    use crate::config::environment::Variables;

    #[test]
    fn a_start_is_told_in_two_lines_without_a_secret() {
        let url = "postgres://u:hush@db:5433/game?password=hush";
        let text = LEAST.replace("sqlite://scores.db", url);
        let text = format!("{text}[[route]]\ntopic = \"players\"\ntable = \"public.players\"\n");
        let config = Config::read(&text, &Variables::new()).unwrap();
        let version = version::TOLD;
        assert_eq!(
            first_line(&config, config.http),
            format!(
                "write-behind {version}, pipeline scores: topic scores → scores, topic players → \
                 public.players of postgres://db:5433/game; page http://127.0.0.1:9464"
            )
        );
        assert!(first_line(&config, None).ends_with("postgres://db:5433/game; no page"));
        assert_eq!(
            ready_line(&config, &[4, 1]),
            "Kafka and the database answer: topic scores has 4 partitions, topic players has 1 partition"
        );
    }
}
