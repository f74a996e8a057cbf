//! The files and commands that a [`Plan`] becomes: the batch for `ip`, the
//! emulators' command lines, the inventory and the daemon's configuration. Pure.
use std::{fmt::Write, path::Path};

use super::argv::Argv;
use super::firmware::{Flash, NicRom};
use super::ipv6;
use super::plan::{Blade, CHASSIS, Plan, RACK};
use crate::bmc::lab::BootDevice;

/// The bridge that all blades and the daemon are on.
pub const BRIDGE: &str = "br0";
/// iPXE in the form of a kernel: plays a BIOS ROM that is not iPXE.
pub const FOREIGN_ROM: &str = "/usr/lib/ipxe/ipxe.lkrn";
/// What such a ROM does: it has no commands, it fetches one file by TFTP.
pub const FOREIGN_ROM_SCRIPT: &str =
    "#!ipxe\ndhcp || exit 1\nchain tftp://${next-server}/undionly.kpxe || exit 1\n";

/// Where the parts of a blade lie, relative to the lab's directory (which the
/// emulator runs in, so that no path's comma or length can matter).
pub struct Files {
    pub console: String,
    pub console_socket: String,
    pub disk: String,
    pub second_disk: String,
    pub vars: String,
    pub rom_script: String,
    pub monitor: String,
    pub complaints: String,
}

pub fn files(blade: &Blade) -> Files {
    let name = &blade.name;
    Files {
        console: format!("consoles/{name}.log"),
        console_socket: format!("consoles/{name}.sock"),
        disk: format!("disks/{name}.img"),
        second_disk: format!("disks/{name}-2.img"),
        vars: format!("vars/{name}.fd"),
        rom_script: format!("vars/{name}.ipxe"),
        monitor: format!("qmp/{name}.sock"),
        complaints: format!("qmp/{name}.err"),
    }
}

/// Input of `ip -batch`, run inside the new namespace.
pub fn network(plan: &Plan) -> String {
    // Pinned MAC: a bridge otherwise takes its lowest port's, changes it when
    // that tap goes, and its addresses are dead for about ten seconds.
    // forward_delay: with the kernel's 15 s the first DISCOVERs are lost.
    // uplink (its far end answers no ARP: it would speak for br0 address with a MAC of its own):
    // taps have no carrier while the blades are off; this pair keeps
    // the bridge up, as a switch is, so the daemon can bind before any blade.
    let mut batch = format!(
        "link set lo up
link add {BRIDGE} address 02:46:4c:00:00:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set {BRIDGE} addrgenmode none
link add uplink type veth peer name uplink-far
link set uplink-far addrgenmode none
link set uplink-far arp off up
link set uplink addrgenmode none
link set uplink master {BRIDGE} up
link set {BRIDGE} up
addr add {server}/{prefix} dev {BRIDGE}
addr add fe80::1/64 dev {BRIDGE} nodad
",
        server = plan.server,
        prefix = plan.subnet.prefix_len(),
    );
    batch.push_str(&ipv6::address(plan, BRIDGE));
    for Blade { tap, .. } in &plan.blades {
        let _ = write!(
            batch,
            "tuntap add dev {tap} mode tap
link set {tap} addrgenmode none
link set {tap} master {BRIDGE} up
"
        );
    }
    batch
}

/// Arguments of the board's emulator for one power-up, booting from the
/// network first unless `once` says otherwise. It starts stopped, with QMP on
/// its standard streams.
pub fn emulator(plan: &Plan, blade: &Blade, once: Option<BootDevice>) -> Vec<String> {
    let Files { console, console_socket, monitor, .. } = files(blade);
    let mut argv = Argv::default();
    argv.two("-name", format!("{}/{}", plan.name, blade.name));
    // /dev/kvm may be there and not work: the slow way works everywhere.
    argv.two("-accel", "tcg,thread=multi");
    argv.two("-smp", "1").two("-m", blade.memory_mb.to_string());
    argv.one("-nodefaults").one("-no-user-config").two("-display", "none");
    argv.one("-S");
    // A warm reset under TCG is slow, and real firmware forgets its one-time
    // boot device: the keeper starts a new emulator instead.
    argv.two("-action", "reboot=shutdown");
    argv.0.extend(blade.firmware.board.machine().iter().map(|&word| word.to_owned()));
    if let Some(flash) = blade.firmware.board.flash() {
        uefi(&mut argv, blade, flash);
    }
    argv.two(
        "-smbios",
        format!(
            "type=1,manufacturer=Firstlight,product=Virtual blade,serial={},uuid={}",
            blade.serial, blade.uuid
        ),
    );
    if let Some(rtc) = &plan.rtc {
        argv.two("-rtc", format!("base={rtc}"));
    }
    argv.two("-chardev", "stdio,id=qmp").two("-mon", "chardev=qmp,mode=control");
    argv.two("-qmp", format!("unix:{monitor},server=on,wait=off"));
    argv.two(
        "-chardev",
        format!(
            "socket,id=console,path={console_socket},server=on,wait=off,logfile={console},logappend=on"
        ),
    );
    argv.two("-serial", "chardev:console");
    devices(&mut argv, blade, once);
    argv.0
}

fn uefi(argv: &mut Argv, blade: &Blade, flash: Flash) {
    let code = flash.code.name;
    argv.two("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
    argv.two("-drive", format!("if=pflash,unit=1,format=raw,file={}", files(blade).vars));
    // Newer OVMF refuses network boot without a source of randomness.
    argv.two("-device", "virtio-rng-pci");
    for switch in blade.firmware.switches() {
        argv.two("-fw_cfg", *switch);
    }
}

fn devices(argv: &mut Argv, blade: &Blade, once: Option<BootDevice>) {
    let from_disk = once == Some(BootDevice::Disk);
    let foreign = blade.nic_rom == NicRom::Foreign && !from_disk;
    let (nic, disk) = match (from_disk, foreign) {
        (true, _) => (1, 0),
        // What plays the ROM is the emulator's boot device 0.
        (false, true) => (1, 2),
        (false, false) => (0, 1),
    };
    let rom = match &blade.nic_rom {
        NicRom::Shipped => String::new(),
        NicRom::None | NicRom::Foreign => ",romfile=".to_owned(),
        // A comma ends a value of the emulator's options unless doubled.
        NicRom::File(path) => format!(",romfile={}", path.to_string_lossy().replace(',', ",,")),
    };
    if foreign {
        argv.two("-kernel", FOREIGN_ROM).two("-initrd", files(blade).rom_script);
    }
    argv.two("-netdev", format!("tap,id=nic,ifname={},script=no,downscript=no", blade.tap));
    argv.two(
        "-device",
        format!("virtio-net-pci,netdev=nic,mac={},bootindex={nic}{rom}", blade.mac),
    );
    let Files { disk: first, second_disk: second, .. } = files(blade);
    // The host's page cache outlives the emulator, so `unsafe` loses nothing
    // when a blade is powered off, only when the host is.
    argv.two(
        "-drive",
        format!("if=none,id=disk1,format=raw,cache=unsafe,discard=unmap,file={first}"),
    );
    // virtio-blk carries at most 20 bytes of serial number.
    argv.two(
        "-device",
        format!("virtio-blk-pci,drive=disk1,serial=FLDISK-B{:02}-1,bootindex={disk}", blade.slot),
    );
    if let Some(bmc) = blade.bmc {
        let (host, port) = (bmc.ip(), bmc.port());
        argv.two("-chardev", format!("socket,id=bmc,host={host},port={port},reconnect=1"));
        argv.two("-device", "ipmi-bmc-extern,id=ipmi,chardev=bmc");
        argv.two("-device", "isa-ipmi-kcs,bmc=ipmi");
    }
    if blade.second_disk {
        argv.two(
            "-drive",
            format!("if=none,id=disk2,format=raw,cache=unsafe,discard=unmap,file={second}"),
        );
        argv.two(
            "-device",
            format!("virtio-blk-pci,drive=disk2,serial=FLDISK-B{:02}-2", blade.slot),
        );
    }
}

/// The lab's rack and blades, for `firstlight apply`.
pub fn inventory(plan: &Plan, power_socket: &Path) -> String {
    let mut text = format!(
        "# The virtual rack of lab {name}: firstlight apply inventory.toml
[[rack]]
name = \"{RACK}\"
[[rack.chassis]]
name = \"{CHASSIS}\"
slots = {slots}
ip_first = \"{ip_first}\"
",
        name = plan.name,
        slots = plan.slots,
        ip_first = plan.ip_first(),
    );
    text.push_str(&ipv6::rule(plan));
    let socket = quoted(power_socket);
    for Blade { name, slot, mac, firmware, .. } in &plan.blades {
        let _ = write!(
            text,
            "
[[blade]]
name = \"{name}\"
slot = {{ rack = \"{RACK}\", chassis = \"{CHASSIS}\", slot = {slot} }}
macs = [\"{mac}\"]
arch = \"{arch}\"
bmc = {{ lab = {socket} }}
disk = {{ smallest = true }}
",
            arch = firmware.board.arch(),
        );
        if firmware.board.secure_boot() {
            text.push_str("secure_boot = true\n");
        }
    }
    text
}

/// A configuration for the daemon that serves this lab from inside its
/// namespace; `data_dir` is where it keeps its own files.
pub fn configuration(plan: &Plan, data_dir: &Path) -> String {
    let (pool_first, pool_last) = plan.pool();
    format!(
        "# Runs in the lab's network, with its page on the host's loopback:
#   firstlight lab exec {name} --listen 127.0.0.1:8443 -- firstlight serve --config THIS_FILE
site = \"lab-{name}\"
data_dir = {data_dir}
database = \"sqlite\"

[boot]
interfaces = [\"{BRIDGE}\"]
http = \"0.0.0.0:80\"

[dhcp]
mode = \"server\"
lease = \"1h\"
unknown = \"discover\"

[[subnet]]
cidr = \"{subnet}\"
gateway = \"{server}\"
dns = []
ntp = []
pool = [\"{pool_first}-{pool_last}\"]

{subnet6}[ui]
listen = \"127.0.0.1:8443\"
tls = \"off\"
",
        name = plan.name,
        data_dir = quoted(data_dir),
        subnet = plan.subnet,
        server = plan.server,
        subnet6 = ipv6::subnet(plan),
    )
}

/// A path as a TOML string, whatever characters it has.
fn quoted(path: &Path) -> String {
    toml::Value::String(path.to_string_lossy().into_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::firmware::{Firmware, nic_rom};
    use super::super::plan::tests::wish;
    use super::super::plan::{Plan, Wish};
    use super::*;
    use crate::config::Config;
    use crate::inventory::{self, Document, SourceMap};

    fn plan() -> Plan {
        Plan::new(&wish()).unwrap()
    }

    fn command_line(slot: usize, once: Option<BootDevice>) -> String {
        let argv = emulator(&plan(), &plan().blades[slot - 1], once);
        argv.join("\n").replace("\n-", "\n\n-").replace('\n', " ").replace("  -", "\n-")
    }

    #[test]
    fn the_network_of_three_blades() {
        insta::assert_snapshot!(network(&plan()));
    }

    #[test]
    fn a_bios_blade() {
        insta::assert_snapshot!(command_line(1, None));
    }

    #[test]
    fn a_bios_blade_with_two_disks_booting_from_disk_once() {
        insta::assert_snapshot!(command_line(2, Some(BootDevice::Disk)));
    }

    #[test]
    fn a_uefi_blade() {
        insta::assert_snapshot!(command_line(3, Some(BootDevice::Pxe)));
    }

    #[test]
    fn a_blade_of_each_other_kind() {
        let lines = |kind: &str, rom: &[&str]| {
            let blade = "r1-c1-b01".to_owned();
            let nic_rom = rom.iter().map(|rom| nic_rom(&format!("{blade}={rom}")).unwrap());
            let firmware = vec![(blade.clone(), kind.parse().unwrap())];
            let ipv6 = kind.ends_with("-pxe6");
            let wish = Wish { firmware, nic_rom: nic_rom.collect(), ipv6, ..wish() };
            let plan = Plan::new(&wish).unwrap();
            let argv = emulator(&plan, &plan.blades[0], None).join(" ");
            let argv = argv.replace(" -", "\n-");
            let own: Vec<&str> = argv.lines().filter(|line| tells(line)).collect();
            let emulator = plan.blades[0].firmware.board.emulator().name;
            format!("{kind}: {emulator}\n{}\n", own.join("\n"))
        };
        let mut shown: Vec<String> =
            Firmware::all().map(|kind| lines(&kind.to_string(), &[])).collect();
        shown.push(lines("bios", &["foreign"]));
        insta::assert_snapshot!(shown.join("\n"));
    }

    /// What differs between the kinds.
    fn tells(line: &str) -> bool {
        let words =
            "-machine|-global|-cpu|-drive if=pflash|-fw_cfg|-kernel|-initrd|-device virtio-net";
        words.split('|').any(|word| line.starts_with(word))
    }

    #[test]
    fn the_inventory_of_three_blades() {
        insta::assert_snapshot!(inventory(
            &plan(),
            Path::new("/var/lib/firstlight/lab/demo/power.sock")
        ));
    }

    #[test]
    fn the_daemons_configuration() {
        insta::assert_snapshot!(configuration(
            &plan(),
            Path::new("/var/lib/firstlight/lab/demo/data")
        ));
    }

    /// What a lab writes, the daemon takes.
    #[test]
    fn the_daemon_understands_configuration_and_inventory() {
        let plan =
            Plan::new(&Wish { blades: 64, subnet: "192.168.0.0/20".parse().unwrap(), ..wish() });
        let plan = plan.unwrap();
        let config = Config::parse(&configuration(&plan, Path::new("/lab/data"))).unwrap();
        let document = Document::parse(&inventory(&plan, Path::new("/lab/power.sock"))).unwrap();
        let complaints = inventory::check(&document, &config, &SourceMap::default());
        assert_eq!(complaints, Vec::<String>::new());
        for (blade, planned) in document.blades.iter().zip(&plan.blades) {
            let (ip, bmc) = inventory::addresses(&document, blade);
            assert_eq!(ip, Some(planned.ip));
            assert_eq!(bmc.unwrap().lab.as_deref(), Some(Path::new("/lab/power.sock")));
        }
    }

    #[test]
    fn odd_paths_survive_quoting() {
        let odd = "/tmp/a\"b\\c,d\u{e9}";
        let text = inventory(&plan(), Path::new(odd));
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["blade"][0]["bmc"]["lab"].as_str(), Some(odd));
        let config: toml::Table = configuration(&plan(), Path::new(odd)).parse().unwrap();
        assert_eq!(config["data_dir"].as_str(), Some(odd));
    }

    #[test]
    fn a_rom_of_the_operators_own_may_have_a_comma_in_its_path() {
        let rom = vec![("r1-c1-b01".to_owned(), NicRom::File("/roms/a,b.rom".into()))];
        let plan = Plan::new(&Wish { nic_rom: rom, ..wish() }).unwrap();
        let argv = emulator(&plan, &plan.blades[0], None);
        assert!(argv.iter().any(|arg| arg.ends_with("bootindex=0,romfile=/roms/a,,b.rom")));
    }
}
