//! Settings from files of their own: each `WRITE_BEHIND_…_FILE` is replaced by the file's text.
//!
//! Orchestrators pass secrets that way: `WRITE_BEHIND_DATABASE_URL_FILE=/run/secrets/url` sets
//! `WRITE_BEHIND_DATABASE_URL` to the file's text. The text is never shown, not in errors either.

use crate::config::environment::Variables;
use crate::config::error::{ConfigError, refuse};

const PREFIX: &str = "WRITE_BEHIND_";
const SUFFIX: &str = "_FILE";

/// Reads the files that `variables` name, without the line break at a file's end.
///
/// # Errors
/// [`ConfigError::Setting`] for a file that can't be read, and for a setting that is given twice.
pub fn from_files(mut variables: Variables) -> Result<Variables, ConfigError> {
    let names = variables.keys().filter_map(|name| {
        let setting = name.strip_suffix(SUFFIX).filter(|name| name.len() > PREFIX.len())?;
        name.starts_with(PREFIX).then(|| (name.clone(), setting.to_owned()))
    });
    for (name, setting) in names.collect::<Vec<_>>() {
        if variables.contains_key(&setting) {
            return Err(refuse(
                name,
                format!("says again what `{setting}` says; remove one of them"),
            ));
        }
        let path = variables.remove(&name).unwrap_or_default();
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| refuse(name, format!("can't read {path:?}: {error}")))?;
        let text =
            text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        variables.insert(setting, text.to_owned());
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_file_is_read_without_its_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        let path = path.to_str().unwrap();
        let given = variables(&[
            ("WRITE_BEHIND_DATABASE_URL_FILE", path),
            ("OTHER_FILE", "/nowhere"),
            ("WRITE_BEHIND_NAME", "scores"),
        ]);
        let expected = variables(&[
            ("WRITE_BEHIND_DATABASE_URL", "sqlite://scores.db"),
            ("OTHER_FILE", "/nowhere"),
            ("WRITE_BEHIND_NAME", "scores"),
        ]);
        for line in ["sqlite://scores.db\n", "sqlite://scores.db\r\n", "sqlite://scores.db"] {
            std::fs::write(path, line).unwrap();
            assert_eq!(from_files(given.clone()).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_and_a_setting_given_twice_are_refused() {
        let name = "WRITE_BEHIND_KAFKA_SASL_PASSWORD";
        let missing = [("WRITE_BEHIND_KAFKA_SASL_PASSWORD_FILE", "/nowhere/at-all")];
        let refused = from_files(variables(&missing)).unwrap_err().to_string();
        assert!(
            refused.contains("SASL_PASSWORD_FILE`: can't read \"/nowhere/at-all\""),
            "{refused}"
        );
        let twice = [(name, "hush"), missing[0]];
        let refused = from_files(variables(&twice)).unwrap_err().to_string();
        assert!(refused.contains("says again") && !refused.contains("hush"), "{refused}");
    }
}
