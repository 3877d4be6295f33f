//! Medians and ratios, as they are printed.

/// Values of several rounds.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// Adds a round's value.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// No values yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// As [`Self::show`], with two decimals.
    pub fn show_hundredths(&self) -> String {
        let ends = (self.0.first().copied().unwrap_or(f64::NAN), self.0.last().copied().unwrap_or(f64::NAN));
        format!("{:.2} ({:.2} - {:.2})", self.median(), ends.0, ends.1)
    }

    /// `median (least - most)` with one decimal.
    pub fn show(&self) -> String {
        let ends = (self.0.first().copied().unwrap_or(f64::NAN), self.0.last().copied().unwrap_or(f64::NAN));
        format!("{:.1} ({:.1} - {:.1})", self.median(), ends.0, ends.1)
    }
}

/// What one comparison must reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Goal {
    /// Whether a ratio reaches it.
    pub fn reached(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }

    /// As a table shows it.
    pub fn show(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least:.2}"),
            Self::AtMost(most) => format!("<= {most:.2}"),
        }
    }
}

/// Says whether a value reaches its goal; whether it does.
pub fn judge(what: &str, value: f64, goal: Goal) -> bool {
    let reached = goal.reached(value);
    println!("- {what}: {value:.2}, goal {}, {}", goal.show(), if reached { "reached" } else { "MISSED" });
    reached
}

/// One line: what, the yardstick's values, ours, and the median of the ratios within each round.
pub fn line(what: &str, bare: &Rounds, ours: &Rounds, ratio: &Rounds, goal: Goal) -> String {
    let verdict = if goal.reached(ratio.median()) { "reached" } else { "MISSED" };
    format!("| {what} | {} | {} | {:.2} | {} | {verdict} |", bare.show(), ours.show(), ratio.median(), goal.show())
}

/// The table's head.
pub const HEAD: &str = "| what | bare, us | gateway, us | ratio | goal | |\n|---|---|---|---|---|---|";
