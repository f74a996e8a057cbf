//! Every text of the pages, in both languages, in one table. A template that names a text which
//! is not here does not compile, and neither does a text without its other language.

use super::lang::Lang;
use crate::{
    blade::{Class, Outcome, Phase},
    reconcile,
};

macro_rules! texts {
    ($($key:ident: $en:literal, $zh:literal;)*) => {
        /// Texts of one language. `{n}` and other words in braces are filled in by `fill`.
        pub struct Texts { pub lang: Lang, $(pub $key: &'static str,)* }

        pub const EN: Texts = Texts { lang: Lang::En, $($key: $en,)* };
        pub const ZH: Texts = Texts { lang: Lang::Zh, $($key: $zh,)* };

        #[cfg(test)]
        const TABLE: &[(&str, &str, &str)] = &[$((stringify!($key), $en, $zh),)*];
    };
}

texts! {
    racks: "Racks", "机架";
    clusters: "Clusters", "集群";
    topologies: "Topologies", "拓扑";
    images: "Images", "镜像";
    events: "Events", "事件";
    find: "Find a blade", "查找刀片";
    find_hint: "name, MAC, address, rack, cluster", "名称、MAC、地址、机架、集群";
    found_n: "{n} blades match “{q}”", "{n} 个刀片匹配“{q}”";
    found_none: "No blade matches “{q}”", "没有刀片匹配“{q}”";
    other_language: "中文", "English";
    skip: "Skip to the content", "跳到正文";
    reconnecting: "The server does not answer. Reconnecting…", "服务器没有应答，正在重新连接…";
    pages: "Pages", "页面";
    n_blades: "{n} blades", "{n} 个刀片";
    one_blade: "1 blade", "1 个刀片";
    n_chassis: "{n} chassis", "{n} 个机箱";
    n_moving: "{n} on their way", "{n} 个进行中";
    all_ready: "all ready", "全部就绪";
    ready_in: "about {time} until all are ready", "约 {time}后全部就绪";
    writing_at: "writing {rate}", "写入 {rate}";
    stands: "How the blades stand", "刀片状态";
    empty_slot: "empty slot {n}", "空槽位 {n}";
    slot_label: "slot {n}, {name}: {state}", "槽位 {n}，{name}：{state}";
    loose: "Without a slot", "未上架";
    chassis: "chassis", "机箱";
    chassis_named: "chassis {n}", "机箱 {n}";
    slot: "slot", "槽位";
    bmc_from: "BMC from {ip}", "BMC 自 {ip} 起";
    no_racks_title: "No racks yet", "还没有机架";
    no_racks: "Describe racks, blades and clusters in a file, then run:", "在文件中描述机架、刀片和集群，然后运行：";
    attention: "Needs a person", "需要处理";
    nothing_wrong: "Nothing needs a person.", "一切正常，无需处理。";
    pick_a_slot: "Choose a slot to see its blade.", "选择一个槽位以查看刀片。";
    deploy: "Deploy…", "部署…";
    details: "Details", "详情";
    close: "Close", "关闭";
    role_none: "no role", "未分配角色";
    time_left: "{time} left", "剩余 {time}";
    median_mark: "The mark is the median of this run.", "竖线为本次部署的中位数。";
    slower: "{n}× the median of this run", "为本次部署中位数的 {n} 倍";
    bytes_of: "{done} of {total}", "{done} / {total}";
    last_seen: "last seen {time} ago", "最近一次出现：{time}前";
    state_in: "{state} · {phase}", "{state} · {phase}";
    hold: "Hold", "暂停";
    release: "Release", "继续";
    power_on: "Power on", "开机";
    power_off: "Power off…", "关机…";
    power_cycle: "Power cycle…", "重启电源…";
    reinstall: "Reinstall…", "重新安装…";
    try_again: "Try again…", "重试…";
    why_stuck: "Why it is stuck", "为何停住";
    why_failed: "Why it failed", "为何失败";
    why_held: "Held by an operator", "已被操作员暂停";
    what_helps: "What usually helps", "常用解决办法";
    neighbours: "{done} of {all} others of this cluster are past this step; their median for it is {time}.", "本集群其他 {all} 个刀片中有 {done} 个已通过此步骤，中位用时 {time}。";
    this_attempt: "This attempt", "本次安装";
    started_at: "started {time}", "开始于 {time}";
    attempt_n: "attempt {n}", "第 {n} 次";
    no_attempt: "No attempt yet: nothing was ever installed here.", "还没有安装记录。";
    what_happened: "What happened", "发生了什么";
    live: "live", "实时";
    no_events: "Nothing yet.", "暂无。";
    hardware: "Hardware", "硬件";
    hardware_none: "Not known before the blade's live system has reported.", "刀片的临时系统上报之前未知。";
    cpu: "CPU", "处理器";
    cores: "threads: {n}, {arch}", "{n} 线程，{arch}";
    memory: "Memory", "内存";
    disk: "Disk", "磁盘";
    disk_data: "holds data", "有数据";
    firmware: "Firmware", "固件";
    serial: "Serial", "序列号";
    uuid: "UUID", "UUID";
    macs: "MACs", "MAC 地址";
    will_get: "What it will get", "将获得的内容";
    cluster: "Cluster", "集群";
    role: "Role", "角色";
    address: "Address", "地址";
    disk_rule: "Disk rule", "磁盘规则";
    only_disk: "the only fixed disk", "唯一的固定磁盘";
    documents: "Documents", "文档";
    view: "View", "查看";
    history: "History", "历史";
    took: "{state} in {time}", "{state}，用时 {time}";
    failed_in: "failed in {phase}", "在“{phase}”失败";
    superseded_in: "superseded in {phase}", "在“{phase}”被取代";
    journal: "Journal", "日志";
    newest_first: "newest first", "最新在前";
    older: "Older", "更早";
    time: "Time", "时间";
    kind: "Kind", "类别";
    blade: "Blade", "刀片";
    place: "Place", "位置";
    state: "State", "状态";
    text: "What", "内容";
    topology: "Topology", "拓扑";
    image: "Image", "镜像";
    ready_of: "{ready} of {all} ready", "{ready} / {all} 就绪";
    failed_n: "{n} failed", "{n} 个失败";
    no_clusters: "No clusters yet: describe one in a file and run", "还没有集群：在文件中描述一个，然后运行";
    plan: "Plan", "计划";
    preflight: "Preflight", "部署前检查";
    nothing_in_way: "Nothing stands in the way.", "没有阻碍。";
    disk_to_wipe: "Disk to be erased", "将被擦除的磁盘";
    power: "Power", "电源";
    now: "Now", "当前";
    architecture: "Architecture", "架构";
    deploy_ask: "Deploy cluster {name}?", "部署集群 {name}？";
    deploy_loses: "The disks of {n} blades will be erased. What is on them is lost:", "{n} 个刀片的磁盘将被擦除，其上的数据会丢失：";
    type_name: "Type {name} to go on", "输入 {name} 以继续";
    deploy_do: "Erase and deploy", "擦除并部署";
    typed_wrong: "That is not the name. Nothing was done.", "名称不符，未执行任何操作。";
    reinstall_ask: "Reinstall {name}?", "重新安装 {name}？";
    reinstall_loses: "Its disk will be erased; what is on it is lost:", "其磁盘将被擦除，其上的数据会丢失：";
    reinstall_do: "Erase and reinstall", "擦除并重新安装";
    ready_now: "It is ready now and serves its role.", "它目前已就绪并正在承担其角色。";
    going_now: "An installation is under way; it will be given up.", "正在安装中，该次安装将被放弃。";
    power_ask: "{op} for {name}?", "对 {name} 执行{op}？";
    power_loses: "What runs on it stops at once, without a shutdown.", "其上运行的一切将立即停止，不会正常关机。";
    power_mid_install: "It is in the middle of an installation; that attempt will be lost.", "正在安装中，该次安装将作废。";
    op_off: "Power off", "关机";
    op_cycle: "Power cycle", "重启电源";
    cancel: "Cancel", "取消";
    disk_unknown: "disk not known yet; chosen by rule: {rule}", "磁盘未知，按规则选择：{rule}";
    refused: "Not done", "未执行";
    back: "Back", "返回";
    missing_page: "There is no such page.", "没有此页面。";
    no_images: "No boot images yet. Build and import one:", "还没有启动镜像。构建并导入：";
    system: "System", "系统";
    version: "Version", "版本";
    parts: "Parts", "组成";
    size: "Size", "大小";
    summary: "Summary", "说明";
    at_least: "At least", "至少";
    later: "later", "以后提供";
    available: "available", "可用";
    documents_of: "What {name} will get", "{name} 将获得的内容";
    documents_secret: "Tokens and secrets are left out.", "不含令牌和密钥。";
    tray: "Waiting to be racked", "等待上架";
    tray_hint: "These machines are not in the inventory. Choose a slot; each goes on by itself.", "这些机器不在清单中。选择槽位后，机器会自行继续。";
    rack_here: "Rack it here", "在此上架";
    rack_it: "Where it sits", "所在位置";
    no_slot: "no slot: give a name", "无槽位：请填写名称";
    slot_of: "{slot}: takes over {name}", "{slot}：接替 {name}";
    name_optional: "Name (empty: made of the slot)", "名称（留空则由槽位生成）";
    ip_optional: "Address (empty: by the chassis' rule)", "地址（留空则按机箱规则）";
    model_unknown: "Machine of unknown make", "未知型号的机器";
    serial_n: "serial {n}", "序列号 {n}";
    machine_waits: "waiting", "等待中";
    machine_silent: "silent for {time}", "{time}没有消息";
    same_uuid: "Its SMBIOS UUID {what} is also that of {with}: a cloned board?", "其 SMBIOS UUID {what} 与 {with} 相同：主板是否为克隆？";
    same_serial: "Its serial {what} is also that of {with}.", "其序列号 {what} 与 {with} 相同。";
    known_mac: "Its card {what} belongs to blade {with}.", "其网卡 {what} 属于刀片 {with}。";
    same_mac: "Its card {what} is also in {with}.", "其网卡 {what} 也出现在 {with} 中。";
    secure_boot_on: "Secure Boot on", "安全启动已开";
    secure_boot_off: "Secure Boot off", "安全启动已关";
    link_up: "link", "已连接";
    link_down: "no link", "未连接";
    card: "Card", "网卡";
    cores_label: "Threads", "线程";
    model: "Model", "型号";
    switch_port: "Switch port", "交换机端口";
    bmc: "BMC", "BMC";
    bmc_present: "there is one; it did not tell its address", "有；未告知其地址";
    bmc_none: "SMBIOS names none", "SMBIOS 未列出";
    over_ask: "Put this machine in the place of {name}?", "用这台机器接替 {name}？";
    over_gets: "It gets the address {ip} and the role: {role}.", "它将获得地址 {ip} 和角色：{role}。";
    over_old: "The old machine ({macs}) is no longer known; started, it would wait here.", "旧机器（{macs}）将不再被识别；若启动，会在此等待。";
    over_held: "{name} is held: nothing is installed until you release it. Then the role is installed and the disk erased.", "{name} 将被暂停：在您继续之前不会安装。继续后将安装角色并擦除磁盘。";
    over_install: "Install the role at once, erasing this machine's disk: {role}", "立即安装角色，并擦除这台机器的磁盘：{role}";
    over_do: "Take over", "接替";
    forget: "Forget it", "忘记";
    forget_hint: "A machine that is forgotten is here again when it next reports.", "被忘记的机器在下次上报时会再次出现。";
    error: "Error", "错误";
    warning: "Warning", "警告";
}

impl Texts {
    pub fn of(lang: Lang) -> &'static Texts {
        match lang {
            Lang::En => &EN,
            Lang::Zh => &ZH,
        }
    }

    pub fn class(&self, class: Class) -> &'static str {
        let (en, zh) = match class {
            Class::Ready => ("Ready", "就绪"),
            Class::Installing => ("Installing", "安装中"),
            Class::Netbooting => ("Netbooting", "网络启动"),
            Class::Stalled => ("Stalled", "停滞"),
            Class::Failed => ("Failed", "失败"),
            Class::Held => ("Held", "暂停"),
            Class::Unknown => ("Unknown", "未知"),
            Class::Off => ("Off", "关机"),
        };
        self.lang.pick(en, zh)
    }

    pub fn outcome(&self, outcome: Outcome) -> &'static str {
        let (en, zh) = match outcome {
            Outcome::Going => ("going", "进行中"),
            Outcome::Stalled => ("stalled", "停滞"),
            Outcome::Failed => ("failed", "失败"),
            Outcome::Held => ("held", "暂停"),
            Outcome::Superseded => ("superseded", "被取代"),
            Outcome::Ready => ("ready", "就绪"),
        };
        self.lang.pick(en, zh)
    }

    pub fn phase(&self, phase: Phase) -> &'static str {
        let (en, zh) = match phase {
            Phase::Off => ("Waiting", "等待"),
            Phase::Powering => ("Power on", "上电"),
            Phase::Firmware => ("Firmware", "固件"),
            Phase::Dhcp => ("DHCP", "DHCP"),
            Phase::Bootfile => ("Boot file", "引导文件"),
            Phase::Script => ("Boot script", "引导脚本"),
            Phase::Kernel => ("Kernel, initrd", "内核与 initrd"),
            Phase::Live => ("Live system", "临时系统"),
            Phase::Clock => ("Set the clock", "校时"),
            Phase::Preflight => ("Preflight", "预检"),
            Phase::Partition => ("Partition", "分区"),
            Phase::Write => ("Write image", "写入镜像"),
            Phase::Verify => ("Verify", "校验"),
            Phase::Bundle => ("Bundle", "软件包"),
            Phase::Configure => ("Configure", "配置"),
            Phase::BootOrder => ("Boot order", "启动顺序"),
            Phase::Installed => ("Installed", "已安装"),
            Phase::Rebooting => ("Reboot to disk", "从磁盘重启"),
            Phase::Up => ("System up", "系统启动"),
            Phase::Joining => ("Joining", "加入集群"),
            Phase::Ready => ("Ready", "就绪"),
        };
        self.lang.pick(en, zh)
    }

    /// What to do about an attempt that is over.
    pub fn advice_after_failure(&self) -> &'static str {
        self.lang.pick(
            "read the blade's last lines, mend the cause, then try again; nothing begins by itself",
            "请查看该刀片的最后日志，排除原因后重试；系统不会自行重新开始",
        )
    }

    /// What is awaited in a phase and what usually helps.
    pub fn advice(&self, phase: Phase) -> &'static str {
        let zh = match phase {
            Phase::Off | Phase::Powering => "等待上电：请按刀片电源按钮，或检查其 BMC",
            Phase::Firmware => "等待 DHCP 请求：请检查固件中的网络启动、网线和生成树",
            Phase::Dhcp => "等待请求引导文件：请检查是否有其他 DHCP 服务器，或防火墙拦截 UDP 69",
            Phase::Bootfile => "等待引导脚本：加载器未启动或失去网络，请检查 MTU 和 UDP 1024-65535",
            Phase::Script => "等待下载内核：请查看刀片控制台",
            Phase::Kernel | Phase::Live => "等待临时系统上报：请查看控制台、内存和网卡驱动",
            Phase::Clock => "等待校时",
            Phase::Preflight | Phase::Partition => "等待安装程序：请查看刀片控制台",
            Phase::Write => "等待写入数据：刀片是否开机，磁盘是否正常？",
            Phase::Verify | Phase::Bundle | Phase::Configure | Phase::BootOrder => {
                "等待安装程序继续：请查看刀片控制台"
            }
            Phase::Installed | Phase::Rebooting => "等待已安装的系统上报：刀片是否从磁盘启动？",
            Phase::Up | Phase::Joining => "等待角色的健康检查：请查看刀片上的服务日志",
            Phase::Ready => "无需等待",
        };
        self.lang.pick(reconcile::advice(phase), zh)
    }
}

/// Puts values in the place of `{words}`. One pass: what is filled in is never read again.
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('{') {
        out.push_str(before);
        let Some((word, after)) = tail.split_once('}') else {
            out.push('{');
            rest = tail;
            continue;
        };
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == word) {
            out.push_str(value);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let mut words: Vec<&str> =
            text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0)).collect();
        words.sort_unstable();
        words
    }

    #[test]
    fn both_languages_say_something_and_ask_for_the_same_values() {
        for (key, en, zh) in TABLE {
            assert!(!en.is_empty() && !zh.is_empty(), "{key}");
            assert_eq!(words(en), words(zh), "{key}");
        }
    }

    #[test]
    fn every_phase_class_and_outcome_has_a_chinese_name() {
        let has_han = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for phase in Phase::ALL {
            assert!(has_han(ZH.phase(phase)) || phase == Phase::Dhcp, "{phase}");
            assert!(has_han(ZH.advice(phase)), "{phase}");
        }
        assert!(Outcome::ALL.into_iter().all(|outcome| has_han(ZH.outcome(outcome))));
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        assert_eq!(fill("a {x} b {y}", &[("x", "{y}"), ("y", "1")]), "a {y} b 1");
        assert_eq!(fill("no { word", &[]), "no { word");
    }
}
