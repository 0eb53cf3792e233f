//! Limits that a run must keep, from a file: `--slo`.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// Most limits of a file.
const LIMITS_MAX: usize = 100;
/// Keys of a result under which is more than one figure, which no limit can be compared with; what may be meant.
const NO_FIGURES: [(&str, &str); 3] = [
    (
        "latency_ms_p99_course",
        "one figure each ten seconds: latency_ms_p99 is that of the whole run",
    ),
    (
        "server_rss_kb",
        "samples: server_rss_kb_per_point and server_rss_growth_percent are figures of them",
    ),
    (
        "layer_mix",
        "a share of each height: no single figure tells of them",
    ),
];

/// Limits by the keys of the JSON result.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Slo {
    /// What must be at least so much.
    #[serde(default)]
    least: BTreeMap<String, f64>,
    /// What must be at most so much.
    #[serde(flatten)]
    most: BTreeMap<String, f64>,
}

impl Slo {
    /// Reads a TOML file: `key = most`, and `key = least` in a table `[least]`. `known` is a result, whose keys there are.
    pub(crate) fn read(file: &str, known: &Value) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        Self::parse(&text, known).with_context(|| file.to_owned())
    }

    fn parse(text: &str, known: &Value) -> anyhow::Result<Self> {
        let source = config::File::from_str(text, config::FileFormat::Toml);
        let slo: Self = config::Config::builder()
            .add_source(source)
            .build()?
            .try_deserialize()?;
        let limits = || slo.most.keys().chain(slo.least.keys());
        ensure!(limits().count() <= LIMITS_MAX, "more than {LIMITS_MAX} limits");
        for key in limits() {
            ensure!(known.get(key).is_some(), "a result has no `{key}`");
            if let Some((_, words)) = NO_FIGURES.iter().find(|(no_figure, _)| no_figure == key) {
                bail!("`{key}` cannot have a limit, it is {words}");
            }
        }
        Ok(slo)
    }

    /// Which limits a result does not keep, in words. What was not measured keeps none.
    pub(crate) fn broken(&self, result: &Value) -> Vec<String> {
        let check = |(key, &limit): (&String, &f64), word: &str, keeps: fn(f64, f64) -> bool| match result
            .get(key)
            .and_then(Value::as_f64)
        {
            Some(value) if keeps(value, limit) => None,
            Some(value) => Some(format!("{key} is {value}, {word} {limit} is wanted")),
            None => Some(format!("{key} was not measured, {word} {limit} is wanted")),
        };
        let most = self.most.iter();
        let least = self.least.iter();
        most.filter_map(|limit| check(limit, "at most", |value, limit| value <= limit))
            .chain(least.filter_map(|limit| check(limit, "at least", |value, limit| value >= limit)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::Report;

    #[test]
    fn limits_are_kept_or_named() {
        let text = "latency_ms_p99 = 20\nfreezes = 0\n[least]\njoined = 3\n";
        let result = json!({"latency_ms_p99": 19.5, "freezes": 1, "joined": 3, "gso_run_mean": null});
        let slo = Slo::parse(text, &result).unwrap();
        assert_eq!(slo.broken(&result), ["freezes is 1, at most 0 is wanted"]);
        let result = json!({"latency_ms_p99": null, "freezes": 0, "joined": 2});
        assert_eq!(
            slo.broken(&result).len(),
            2,
            "what was not measured is no success"
        );
    }

    #[test]
    fn a_key_that_no_result_has_and_a_value_that_is_no_number_are_refused() {
        let known = json!({"joined": 1});
        assert!(Slo::parse("latency = 20\n", &known).is_err());
        assert!(Slo::parse("joined = \"many\"\n", &known).is_err());
        assert!(Slo::parse("[least]\njoined = 1\n", &known).is_ok());
    }

    #[test]
    fn what_is_more_than_one_figure_is_refused_by_its_name_and_nothing_else_is() {
        let lists = Report {
            latency_course: Some(Vec::new()),
            rss_kb: vec![1],
            ..Report::default()
        };
        let known = serde_json::to_value(lists.summary()).unwrap();
        for (key, value) in known.as_object().unwrap() {
            for text in [format!("{key} = 1\n"), format!("[least]\n{key} = 1\n")] {
                let refused = Slo::parse(&text, &known).err().map(|error| error.to_string());
                match value.is_array() || value.is_object() {
                    true => assert!(refused.is_some_and(|words| words.starts_with(&format!("`{key}`")))),
                    false => assert_eq!(refused, None),
                }
            }
        }
    }
}
