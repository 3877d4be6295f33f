//! What the system under a device is set to, as far as it bears on who can open the device; read from /proc and /sys.

use std::path::Path;

use serde::Serialize;

/// The system under a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The kernel's release.
    pub kernel: String,
    /// The places that memory is swapped to; absent where that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Vec<String>>,
    /// Its settings.
    pub settings: Vec<Setting>,
}

/// One setting of the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name, as the kernel's documentation has it.
    pub name: &'static str,
    /// Its value; absent where this kernel has no such setting, or does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What the value means.
    pub meaning: String,
}

/// A setting: its file, its name, what single values mean, and what it means that it is absent.
type Known = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

/// The settings that are shown.
const SETTINGS: [Known; 8] = [
    (
        "proc/sys/kernel/yama/ptrace_scope",
        "kernel.yama.ptrace_scope",
        &[
            ("0", "processes of one user may trace each other; the device's own lock-down forbids it"),
            ("1", "only a parent may trace"),
            ("2", "only an administrator may trace"),
            ("3", "nobody may trace"),
        ],
        "this kernel has no Yama; the device's own lock-down forbids tracing it",
    ),
    (
        "sys/kernel/security/lockdown",
        "lockdown",
        &[],
        "root may read and change the kernel's memory (no lockdown, or it is not shown)",
    ),
    (
        "proc/sys/kernel/modules_disabled",
        "kernel.modules_disabled",
        &[("0", "root may load kernel modules"), ("1", "no kernel module can be loaded any more")],
        "this kernel has no modules",
    ),
    (
        "proc/sys/kernel/kexec_load_disabled",
        "kernel.kexec_load_disabled",
        &[("0", "root may start another kernel"), ("1", "no other kernel can be started any more")],
        "this kernel starts no other kernel",
    ),
    (
        "proc/sys/kernel/io_uring_disabled",
        "kernel.io_uring_disabled",
        &[
            ("0", "processes may use io_uring; the device's own list of system calls leaves it out"),
            ("1", "only an administrator's group may use io_uring"),
            ("2", "nobody may use io_uring"),
        ],
        "this kernel cannot switch io_uring off; the device's own list of system calls leaves it out",
    ),
    (
        "proc/sys/kernel/unprivileged_bpf_disabled",
        "kernel.unprivileged_bpf_disabled",
        &[
            ("0", "anybody may load bpf programs"),
            ("1", "only root may load bpf programs"),
            ("2", "only root may load bpf programs"),
        ],
        "this kernel has no bpf",
    ),
    (
        "proc/sys/fs/suid_dumpable",
        "fs.suid_dumpable",
        &[
            ("0", "a process that is closed to others leaves no core dump"),
            ("2", "a closed process may leave one for root"),
        ],
        "not shown",
    ),
    (
        "proc/sys/kernel/randomize_va_space",
        "kernel.randomize_va_space",
        &[
            ("0", "memory lies at places that can be foretold"),
            ("1", "memory is laid out at random, the heap is not"),
            ("2", "memory is laid out at random"),
        ],
        "not shown",
    ),
];

impl Host {
    /// Looks at this system.
    pub fn look() -> Host {
        Host::below(Path::new("/"))
    }

    fn below(root: &Path) -> Host {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned());
        let kernel = text("proc/sys/kernel/osrelease");
        let setting = |(path, name, meanings, absent): &Known| {
            let value = text(path);
            let meaning = match &value {
                // Without /proc nothing can be told from what is absent.
                None if kernel.is_none() => "not shown".to_owned(),
                None => (*absent).to_owned(),
                Some(value) => meanings
                    .iter()
                    .find(|(known, _)| known == value)
                    .map_or_else(|| lockdown(name, value), |(_, meaning)| (*meaning).to_owned()),
            };
            Setting { name, value, meaning }
        };
        let swap = text("proc/swaps").map(|table| {
            table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
        });
        let settings = SETTINGS.iter().map(setting).collect();
        Host { kernel: kernel.unwrap_or_else(|| "not shown".to_owned()), swap, settings }
    }
}

/// The kernel shows all values of lockdown, and the one in force in brackets.
fn lockdown(name: &str, value: &str) -> String {
    match (name, value) {
        ("lockdown", value) if value.contains("[none]") => "root may read and change the kernel's memory".to_owned(),
        ("lockdown", value) if value.contains("[integrity]") => {
            "root may read the kernel's memory, not change it".to_owned()
        }
        ("lockdown", value) if value.contains("[confidentiality]") => {
            "root may neither read nor change the kernel's memory".to_owned()
        }
        _ => "a value that this version does not know".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_described_by_what_it_shows() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        put("proc/sys/kernel/osrelease", "6.18.1\n");
        put("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
        put("proc/sys/kernel/yama/ptrace_scope", "2\n");
        put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        put("proc/sys/kernel/modules_disabled", "9\n");
        let host = Host::below(root.path());
        assert_eq!((host.kernel.as_str(), host.swap.as_deref()), ("6.18.1", Some(&["/dev/sda2".to_owned()][..])));
        let meaning = |name: &str| &host.settings.iter().find(|setting| setting.name == name).unwrap().meaning;
        assert_eq!(meaning("kernel.yama.ptrace_scope"), "only an administrator may trace");
        assert_eq!(meaning("lockdown"), "root may read the kernel's memory, not change it");
        assert_eq!(meaning("kernel.modules_disabled"), "a value that this version does not know");
        assert!(meaning("kernel.kexec_load_disabled").contains("no other kernel"));
    }

    #[test]
    fn where_nothing_is_shown_nothing_is_made_up() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::below(root.path());
        assert_eq!((host.kernel.as_str(), &host.swap), ("not shown", &None));
        assert!(host.settings.iter().all(|setting| setting.value.is_none() && setting.meaning == "not shown"));
    }
}
