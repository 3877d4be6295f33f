//! What the machine says, and what a person or a script is told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many faults of a writer are shown.
const FAULTS_SHOWN: usize = 3;

/// One line from the machine.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Line {
    /// A writer has written everything.
    Recorded {
        #[serde(rename = "recorded")]
        _writer: String,
    },
    /// The points of this writer follow.
    Writer { writer: String, requests: u64, possible: u64, points: u64 },
    /// What one power cut left.
    Point(Point),
    /// All was done.
    Done {
        #[serde(rename = "done")]
        _done: bool,
    },
    /// Something failed that is not a fault of the writer.
    Failed { failed: String },
}

/// What one power cut left.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Point {
    /// After how many requests the power went.
    point: u64,
    /// The last change that was acknowledged before.
    acknowledged: u32,
    verdict: Verdict,
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Lost,
    Torn,
    Unbootable,
    Unmountable,
}

/// What became of one writer.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    writer: &'static str,
    must_survive: bool,
    requests: u64,
    possible_points: u64,
    points: u64,
    survived: u64,
    lost: u64,
    torn: u64,
    unbootable: u64,
    unmountable: u64,
    faults: Vec<Point>,
}

impl Outcome {
    pub(super) fn new(writer: &'static str, must_survive: bool, requests: u64, possible: u64, points: u64) -> Outcome {
        let (survived, lost, torn, unbootable, unmountable) = (0, 0, 0, 0, 0);
        let faults = Vec::new();
        Outcome {
            writer,
            must_survive,
            requests,
            possible_points: possible,
            points,
            survived,
            lost,
            torn,
            unbootable,
            unmountable,
            faults,
        }
    }

    pub(super) fn add(&mut self, point: Point) {
        *match point.verdict {
            Verdict::Ok => &mut self.survived,
            Verdict::Lost => &mut self.lost,
            Verdict::Torn => &mut self.torn,
            Verdict::Unbootable => &mut self.unbootable,
            Verdict::Unmountable => &mut self.unmountable,
        } += 1;
        if point.verdict != Verdict::Ok && self.faults.len() < FAULTS_SHOWN {
            self.faults.push(point);
        }
    }

    /// A sound writer survives every cut, and a careless one does not.
    fn is_as_it_must(&self) -> bool {
        self.points > 0
            && self.survived + self.lost + self.torn + self.unbootable + self.unmountable == self.points
            && (self.survived == self.points) == self.must_survive
    }
}

/// The whole run.
pub(super) struct Run {
    pub(super) seed: u64,
    pub(super) kernel: String,
    pub(super) seconds: f64,
    pub(super) outcomes: Vec<Outcome>,
}

impl Run {
    /// Whether every writer did as it must.
    pub(super) fn passed(&self) -> bool {
        self.outcomes.iter().all(Outcome::is_as_it_must)
    }
}

impl Serialize for Run {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({
            "passed": self.passed(),
            "seed": self.seed,
            "kernel": self.kernel,
            "seconds": (self.seconds * 10.0).round() / 10.0,
            "writers": self.outcomes,
        })
        .serialize(serializer)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:16}{:>9}{:>8}{:>10}{:>6}{:>6}{:>12}{:>13}",
            "writer", "requests", "points", "survived", "lost", "torn", "unbootable", "unmountable"
        )?;
        for outcome in &self.outcomes {
            let Outcome { writer, requests, points, survived, lost, torn, unbootable, unmountable, .. } = outcome;
            let verdict = match (outcome.must_survive, outcome.is_as_it_must()) {
                (true, true) => "safe",
                (true, false) => "NOT SAFE",
                (false, true) => "found out, as it must be",
                (false, false) => "NOT FOUND OUT: this run proves nothing",
            };
            writeln!(
                f,
                "{writer:16}{requests:>9}{points:>8}{survived:>10}{lost:>6}{torn:>6}{unbootable:>12}{unmountable:>13}  {verdict}"
            )?;
        }
        for outcome in self.outcomes.iter().filter(|outcome| !outcome.is_as_it_must()) {
            for Point { point, acknowledged, why, .. } in &outcome.faults {
                let why = why.as_deref().unwrap_or("no reason given");
                writeln!(f, "{}, cut after request {point}, {acknowledged} acknowledged: {why}", outcome.writer)?;
            }
        }
        writeln!(f, "Linux {} in a virtual machine, seed {}, {:.0} s", self.kernel, self.seed, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(must_survive: bool, verdicts: &[&str]) -> Outcome {
        let mut outcome = Outcome::new("sound", must_survive, 100, 90, 2);
        for verdict in verdicts {
            let line = format!("{{\"point\":7,\"acknowledged\":3,\"verdict\":\"{verdict}\",\"why\":null}}");
            let Line::Point(point) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
            outcome.add(point);
        }
        outcome
    }

    #[test]
    fn one_loss_fails_a_sound_writer_and_no_loss_fails_a_careless_one() {
        assert!(outcome(true, &["ok", "ok"]).is_as_it_must());
        for fault in ["lost", "torn", "unbootable", "unmountable"] {
            assert!(!outcome(true, &["ok", fault]).is_as_it_must());
            assert!(outcome(false, &["ok", fault]).is_as_it_must());
        }
        assert!(!outcome(false, &["ok", "ok"]).is_as_it_must());
    }

    #[test]
    fn points_that_never_came_are_no_success() {
        assert!(!outcome(true, &["ok"]).is_as_it_must());
        assert!(!outcome(true, &[]).is_as_it_must());
        assert!(!outcome(false, &["lost"]).is_as_it_must());
    }
}
