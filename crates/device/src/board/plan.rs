//! A board as its data file describes it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use apphost::board::{I2C, PINS, SPI, UART};
use serde::Deserialize;

use super::security::Security;
use super::wave::{Range, Wave};
use super::{BOARD_FILE, BoardError};
use crate::limits::Limits;

/// The board of a device without such a file.
const BUILT_IN: &str = include_str!("../../boards/simulated.toml");
/// The most sectors of flash memory.
const SECTORS_MOST: usize = 1_024;

/// A bus and a 7-bit address on it.
pub type I2cPlace = (&'static str, u8);
/// What an I2C device answers with, by register.
pub type Registers = BTreeMap<u8, u8>;

/// Everything about a board that does not change while it runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Volts.
    pub voltage: f32,
    /// 0 to 65535.
    pub light: u16,
    /// The pins that something is wired to.
    pub pins: BTreeMap<&'static str, PlanPin>,
    /// What answers on I2C, by bus and 7-bit address.
    pub i2c: BTreeMap<I2cPlace, Registers>,
    /// SPI buses, and whether what goes out comes back.
    pub spi: BTreeMap<&'static str, bool>,
    /// UARTs, and what comes in on each.
    pub uart: BTreeMap<&'static str, PlanUart>,
    /// Of flash memory.
    pub sectors: usize,
    /// What it says of its own protections.
    pub security: Security,
}

/// A pin that something is wired to.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanPin {
    /// How values become volts.
    pub unit: Unit,
    /// What it shows.
    pub wave: Option<Wave>,
}

/// How a value is meant.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// As it is shown.
    pub name: String,
    /// The volts that mean zero.
    pub volts_at_zero: f32,
    /// The volts that one more means.
    pub volts_per_unit: f32,
}

/// What comes in on a UART.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanUart {
    /// What went out.
    Loopback,
    /// These bytes, once it is configured.
    Bytes(Vec<u8>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "three_volts_three")]
    voltage: f32,
    #[serde(default)]
    light: u16,
    #[serde(default)]
    pins: BTreeMap<String, WrittenPin>,
    #[serde(default)]
    i2c: Vec<WrittenI2c>,
    #[serde(default)]
    spi: Vec<WrittenSpi>,
    #[serde(default)]
    uart: Vec<WrittenUart>,
    #[serde(default)]
    spiflash: WrittenFlash,
    #[serde(default)]
    security: Security,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPin {
    unit: Option<Unit>,
    constant: Option<f32>,
    sine: Option<WrittenSine>,
    noise: Option<Range>,
    csv: Option<WrittenCsv>,
}

#[derive(Debug, Deserialize)]
struct WrittenSine {
    period: f32,
    #[serde(flatten)]
    range: Range,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCsv {
    file: String,
    step: f32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenI2c {
    bus: String,
    address: u8,
    registers: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSpi {
    bus: String,
    #[serde(default)]
    loopback: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUart {
    port: String,
    #[serde(default)]
    loopback: bool,
    file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFlash {
    #[serde(default)]
    sectors: usize,
}

fn three_volts_three() -> f32 {
    3.3
}

impl Plan {
    /// The board of the device in a folder; files it names lie there too.
    ///
    /// # Errors
    /// The file cannot be read, or is no board.
    pub fn of(dir: &Path, limits: &Limits) -> Result<Plan, BoardError> {
        let file = dir.join(BOARD_FILE);
        let text = match read(&file, limits) {
            Err(BoardError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => BUILT_IN.to_owned(),
            read => read?,
        };
        Plan::parse(&text, dir).map_err(|why| wrong(&file, why))
    }

    /// The board in a file that a device is to be made with, and the file's text; files it names lie beside it.
    ///
    /// # Errors
    /// The file cannot be read, or is no board.
    pub fn at(file: &Path, limits: &Limits) -> Result<(Plan, String), BoardError> {
        let text = read(file, limits)?;
        let plan = Plan::parse(&text, file.parent().unwrap_or(Path::new("")));
        Ok((plan.map_err(|why| wrong(file, why))?, text))
    }

    fn parse(text: &str, dir: &Path) -> Result<Plan, String> {
        let Written { voltage, light, pins, i2c, spi, uart, spiflash, security } =
            toml::from_str(text).map_err(|error| error.to_string())?;
        if !(0.1..=60.0).contains(&voltage) {
            return Err("voltage: 0.1 to 60 volts".to_owned());
        }
        if spiflash.sectors > SECTORS_MOST {
            return Err(format!("spiflash: at most {SECTORS_MOST} sectors"));
        }
        security.check()?;
        let pins = pins.into_iter().map(|(name, pin)| Ok((one_of("pin", &name, &PINS)?, pin.planned(&name, dir)?)));
        let spi = spi.into_iter().map(|spi| Ok((one_of("bus", &spi.bus, &SPI)?, spi.loopback)));
        let uart = uart.into_iter().map(|uart| Ok((one_of("port", &uart.port, &UART)?, uart.planned(dir)?)));
        Ok(Plan {
            voltage,
            light,
            pins: pins.collect::<Result<_, String>>()?,
            i2c: i2c.into_iter().map(WrittenI2c::planned).collect::<Result<_, String>>()?,
            spi: spi.collect::<Result<_, String>>()?,
            uart: uart.collect::<Result<_, String>>()?,
            sectors: spiflash.sectors,
            security,
        })
    }
}

fn read(file: &Path, limits: &Limits) -> Result<String, BoardError> {
    let failed = |source| BoardError::Read { file: file.display().to_string(), source };
    if std::fs::metadata(file).map_err(failed)?.len() > limits.board_file {
        return Err(wrong(file, format!("a board has at most {} bytes", limits.board_file)));
    }
    std::fs::read_to_string(file).map_err(failed)
}

fn wrong(file: &Path, why: String) -> BoardError {
    BoardError::Wrong { file: file.display().to_string(), why }
}

fn one_of(what: &str, name: &str, names: &[&'static str]) -> Result<&'static str, String> {
    let found = names.iter().find(|known| **known == name).copied();
    found.ok_or_else(|| format!("there is no {what} {name}; there are {}", names.join(", ")))
}

impl WrittenPin {
    fn planned(self, name: &str, dir: &Path) -> Result<PlanPin, String> {
        let waves = [
            self.constant.map(Wave::Constant).map(Ok),
            self.sine.map(|sine| match sine.period > 0.0 {
                true => Ok(Wave::Sine(sine.range, sine.period)),
                false => Err(format!("{name}: a period is longer than 0 seconds")),
            }),
            self.noise.map(Wave::Noise).map(Ok),
            self.csv.map(|csv| match csv.step > 0.0 {
                true => Wave::of_csv(&dir.join(csv.file), csv.step),
                false => Err(format!("{name}: a step is longer than 0 seconds")),
            }),
        ];
        let mut waves = waves.into_iter().flatten();
        let wave = waves.next().transpose()?;
        if waves.next().is_some() {
            return Err(format!("{name}: one of constant, sine, noise and csv"));
        }
        let volts = Unit { name: "V".to_owned(), volts_at_zero: 0.0, volts_per_unit: 1.0 };
        let unit = self.unit.unwrap_or(volts);
        if unit.volts_per_unit == 0.0 || !unit.volts_per_unit.is_finite() {
            return Err(format!("{name}: volts_per_unit is a number that is not 0"));
        }
        Ok(PlanPin { unit, wave })
    }
}

impl WrittenI2c {
    fn planned(self) -> Result<(I2cPlace, Registers), String> {
        let bus = one_of("bus", &self.bus, &I2C)?;
        if self.address > 127 {
            return Err(format!("{bus}: an address has 7 bits"));
        }
        let mut registers = BTreeMap::new();
        for (first, values) in self.registers {
            let at: u8 = first.parse().map_err(|_| format!("{bus}: a register is a number from 0 to 255: {first}"))?;
            for (offset, value) in values.into_iter().enumerate() {
                let place = u8::try_from(usize::from(at) + offset);
                registers.insert(place.map_err(|_| format!("{bus}: registers end at 255"))?, value);
            }
        }
        Ok(((bus, self.address), registers))
    }
}

impl WrittenUart {
    fn planned(self, dir: &Path) -> Result<PlanUart, String> {
        match (self.loopback, self.file) {
            (true, None) => Ok(PlanUart::Loopback),
            (false, None) => Ok(PlanUart::Bytes(Vec::new())),
            (false, Some(file)) => {
                let bytes = std::fs::read(dir.join(&file)).map_err(|error| format!("{file}: {error}"))?;
                match bytes.len() <= super::simulated::UART_BYTES {
                    true => Ok(PlanUart::Bytes(bytes)),
                    false => Err(format!("{file}: at most {} bytes", super::simulated::UART_BYTES)),
                }
            }
            (true, Some(_)) => Err(format!("{}: a file or loopback", self.port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    #[test]
    fn the_built_in_board_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::of(dir.path(), &LIMITS).unwrap();
        assert_eq!(plan.pins["pin1"].unit.name, "°C");
        let [(_, secure_boot), .., (_, pcrs)] = plan.security.said();
        assert!(secure_boot.unwrap().to_string().starts_with("none (source: "), "it claims nothing");
        assert_eq!(pcrs, None);
        assert_eq!(plan.i2c[&("i2c89", 0x48)], BTreeMap::from([(0, 0x15), (1, 0x80), (2, 0x60)]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let dir = tempfile::tempdir().unwrap();
        for (text, why) in [
            ("pins.pin3.constant = 1.0", "no pin pin3"),
            ("pins.pin1.constant = 1.0\npins.pin1.noise = { low = 0.0, high = 1.0 }", "one of constant"),
            ("pins.pin1.sine = { low = 0.0, high = 1.0, period = 0.0 }", "period"),
            ("pins.pin1.csv = { file = \"missing\", step = 1.0 }", "missing"),
            ("pins.pin1.unit = { name = \"x\", volts_at_zero = 0.0, volts_per_unit = 0.0 }", "volts_per_unit"),
            ("colour = 1", "colour"),
            ("voltage = 0.0", "voltage"),
            ("[[i2c]]\nbus = \"i2c1\"\naddress = 1\nregisters = {}", "no bus i2c1"),
            ("[[i2c]]\nbus = \"i2c0\"\naddress = 128\nregisters = {}", "7 bits"),
            ("[[i2c]]\nbus = \"i2c0\"\naddress = 1\nregisters = { 255 = [1, 2] }", "end at 255"),
            ("[[uart]]\nport = \"uart0\"\nloopback = true\nfile = \"x\"", "a file or loopback"),
            ("spiflash.sectors = 1025", "1024 sectors"),
            ("security.jtag = { value = \"off\" }", "source"),
            ("security.jtag = { value = \"off\", source = \" \" }", "security.jtag: source"),
            ("security.secure_boot = { value = \"a\\nb\", source = \"x\" }", "security.secure_boot: value"),
            ("security.pcrs = { value = [], source = \"x\" }", "ascending"),
            ("security.pcrs = { value = [7, 4], source = \"x\" }", "ascending"),
            ("security.pcrs = { value = [24], source = \"x\" }", "from 0 to 23"),
            ("security.fuses = { value = \"x\", source = \"x\" }", "fuses"),
        ] {
            let error = Plan::parse(text, dir.path()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_a_board_says_of_its_protections_comes_with_its_source() {
        let text = "[security]\njtag = { value = \"closed by fuse\", source = \"fuse 0x470 read at the factory\" }\n\
                    pcrs = { value = [0, 23], source = \"boot guide, table 3\" }";
        let dir = tempfile::tempdir().unwrap();
        let [_, (name, jtag), (_, read_out), (_, pcrs)] = Plan::parse(text, dir.path()).unwrap().security.said();
        assert_eq!(name, "JTAG");
        assert_eq!(jtag.unwrap().to_string(), "closed by fuse (source: fuse 0x470 read at the factory)");
        assert_eq!(read_out, None, "what is not said is not known");
        assert_eq!(pcrs.unwrap().value, "0, 23");
    }

    #[test]
    fn a_board_has_its_bytes_and_not_one_more() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { board_file: 8, ..LIMITS };
        std::fs::write(dir.path().join(BOARD_FILE), "light=12").unwrap();
        assert_eq!(Plan::of(dir.path(), &limits).unwrap().light, 12);
        std::fs::write(dir.path().join(BOARD_FILE), "light=123").unwrap();
        assert!(Plan::of(dir.path(), &limits).unwrap_err().to_string().contains("8 bytes"));
    }
}
