//! What a simulated input shows over time.

use std::path::Path;

use serde::Deserialize;

/// One waveform, in the unit of its pin.
#[derive(Clone, Debug, PartialEq)]
pub enum Wave {
    /// Always the same.
    Constant(f32),
    /// Up and down, once in `period` seconds.
    Sine(Range, f32),
    /// Any value between, another one each time, but the same at the same time.
    Noise(Range),
    /// The lines of a file, each for `step` seconds, again and again.
    Samples(Vec<f32>, f32),
}

/// The bounds of a waveform.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub struct Range {
    /// The lowest value.
    pub low: f32,
    /// The highest value.
    pub high: f32,
}

/// The most samples of one file.
pub const SAMPLES_MOST: usize = 100_000;

impl Wave {
    /// The value at a second.
    pub fn at(&self, second: f64) -> f32 {
        match self {
            Wave::Constant(value) => *value,
            Wave::Sine(range, period) => {
                let turn = (second / f64::from(*period)).fract() * std::f64::consts::TAU;
                range.part((turn.sin() as f32 + 1.0) / 2.0)
            }
            Wave::Noise(range) => range.part(scattered(second)),
            Wave::Samples(samples, step) => {
                let place = (second / f64::from(*step)) as u64 % (samples.len() as u64).max(1);
                samples.get(place as usize).copied().unwrap_or_default()
            }
        }
    }

    /// Whether it changes over time.
    pub fn moves(&self) -> bool {
        !matches!(self, Wave::Constant(_))
    }

    /// The values of a file: the last number of each line; a first line without one is a heading.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn of_csv(file: &Path, step: f32) -> Result<Wave, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut samples = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let value = line.rsplit([',', ';']).next().unwrap_or_default().trim().parse::<f32>();
            match value {
                Ok(value) if value.is_finite() => samples.push(value),
                _ if number == 0 || line.trim().is_empty() => {}
                _ => return Err(format!("{}, line {}: no number at its end", file.display(), number + 1)),
            }
        }
        match samples.len() {
            0 => Err(format!("{}: it holds no number", file.display())),
            1..=SAMPLES_MOST => Ok(Wave::Samples(samples, step)),
            _ => Err(format!("{}: it has more than {SAMPLES_MOST} lines", file.display())),
        }
    }
}

impl Range {
    fn part(self, share: f32) -> f32 {
        self.low + (self.high - self.low) * share
    }
}

/// A number from 0 to 1 that follows from a moment, scattered as noise is.
fn scattered(second: f64) -> f32 {
    let mut bits = second.to_bits();
    for _ in 0..2 {
        bits = (bits ^ (bits >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    }
    ((bits >> 40) as f32) / ((1 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = Range { low: 2.0, high: 4.0 };

    #[test]
    fn a_sine_turns_between_its_bounds() {
        let sine = Wave::Sine(RANGE, 8.0);
        for (second, value) in [(0.0, 3.0), (2.0, 4.0), (4.0, 3.0), (6.0, 2.0), (8.0, 3.0), (802.0, 4.0)] {
            assert!((sine.at(second) - value).abs() < 1e-4, "{second}: {}", sine.at(second));
        }
    }

    #[test]
    fn noise_stays_between_its_bounds_and_covers_them() {
        let noise = Wave::Noise(RANGE);
        let values: Vec<f32> = (0..1_000).map(|n| noise.at(f64::from(n) / 100.0)).collect();
        assert!(values.iter().all(|value| (2.0..=4.0).contains(value)));
        assert!(values.iter().any(|value| *value < 2.2) && values.iter().any(|value| *value > 3.8));
        assert_eq!(noise.at(1.5), noise.at(1.5));
    }

    #[test]
    fn a_file_is_played_line_by_line_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.csv");
        std::fs::write(&file, "time,celsius\n0,1.5\n1,2.5\n\n2,-3\n").unwrap();
        let wave = Wave::of_csv(&file, 0.5).unwrap();
        let values: Vec<f32> = (0..7).map(|n| wave.at(f64::from(n) * 0.5)).collect();
        assert_eq!(values, [1.5, 2.5, -3.0, 1.5, 2.5, -3.0, 1.5]);
        for (wrong, why) in [("", "no number"), ("a\nb\n", "line 2"), ("1\nnan\n", "line 2")] {
            std::fs::write(&file, wrong).unwrap();
            assert!(Wave::of_csv(&file, 1.0).unwrap_err().contains(why), "{wrong:?}");
        }
    }
}
