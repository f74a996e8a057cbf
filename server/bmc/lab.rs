//! The power of a virtual rack's blades: one JSON object per line each way
//! over the lab's Unix socket.
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::power::{PowerError, PowerOp, PowerState};

/// An emulated blade is on within a second; so many mean that the lab hangs, even
/// on a machine that has far too much to do.
const LIMIT: Duration = Duration::from_secs(18);

/// No request and no answer is longer (bytes); a lab of 64 blades lists in a quarter of it.
pub const LINE_LIMIT: u64 = 64 * 1024;

/// One line to the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub op: Op,
    /// The blade's name; every `op` but `list` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blade: Option<String>,
    /// Only with `boot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<BootDevice>,
}

/// `reset` is refused where a blade is off, `cycle` powers it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    On,
    Off,
    Cycle,
    Reset,
    Status,
    Boot,
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootDevice {
    Pxe,
    Disk,
}

/// One line from the lab: `{"ok":true,"power":"on"}` or `{"ok":false,"error":"…"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Only after `list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blades: Option<Vec<BladePower>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    On,
    Off,
}

/// One blade as `list` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BladePower {
    pub blade: String,
    pub power: Power,
    /// The emulator's process, while on.
    pub pid: Option<u32>,
    /// Seconds since the last power-up or reset, while on.
    pub uptime: Option<u64>,
    /// Power-ups and resets since the lab came up.
    pub boots: u32,
    /// The one-time boot device that the next power-up will take.
    pub next_boot: Option<BootDevice>,
    /// Why the emulator ended, where it was not the guest's or the operator's wish.
    pub error: Option<String>,
}

/// Asks the lab that listens at `socket` (its `power.sock`) for one operation on one blade.
///
/// Takes at most eighteen seconds. For `BootPxe` and `BootDisk` the answer is the
/// power as it is, untouched.
pub async fn power(socket: &Path, blade: &str, op: PowerOp) -> Result<PowerState, PowerError> {
    let address = socket.display().to_string();
    let answer = match tokio::time::timeout(LIMIT, exchange(socket, &request(blade, op))).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(source)) if source.kind() == std::io::ErrorKind::InvalidData => {
            let reason = source.to_string();
            return Err(PowerError::Protocol { address, blade: blade.into(), op, reason });
        }
        Ok(Err(source)) => return Err(PowerError::Unreachable { address, source }),
        Err(_) => {
            return Err(PowerError::Timeout { address, blade: blade.into(), op, limit: LIMIT });
        }
    };
    match (answer.ok, answer.power) {
        (true, Some(Power::On)) => Ok(PowerState::On),
        (true, Some(Power::Off)) => Ok(PowerState::Off),
        (true, None) => {
            let reason = "an answer without the power's state".into();
            Err(PowerError::Protocol { address, blade: blade.into(), op, reason })
        }
        (false, _) => {
            let reason = answer.error.unwrap_or_else(|| "no reason given".into());
            Err(PowerError::Refused { address, blade: blade.into(), op, reason })
        }
    }
}

fn request(blade: &str, op: PowerOp) -> Request {
    let (op, device) = match op {
        PowerOp::On => (Op::On, None),
        PowerOp::Off => (Op::Off, None),
        PowerOp::Cycle => (Op::Cycle, None),
        PowerOp::Status => (Op::Status, None),
        PowerOp::BootPxe => (Op::Boot, Some(BootDevice::Pxe)),
        PowerOp::BootDisk => (Op::Boot, Some(BootDevice::Disk)),
    };
    Request { op, blade: Some(blade.to_owned()), device }
}

/// `InvalidData` is an answer that is no answer; every other error is the socket's.
async fn exchange(socket: &Path, request: &Request) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    line.clear();
    BufReader::new(stream.take(LINE_LIMIT)).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        let what = format!("no whole line in {} bytes", line.len());
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    }
    serde_json::from_slice(&line)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A lab that takes one request and answers `bytes`, whatever was asked.
    async fn against(
        bytes: &'static [u8],
        op: PowerOp,
    ) -> (String, Result<PowerState, PowerError>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("power.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let lab = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut asked = String::new();
            stream.read_line(&mut asked).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            asked
        };
        tokio::join!(lab, power(&path, "r1-c1-b01", op))
    }

    #[tokio::test]
    async fn power_on_is_one_line_each_way() {
        let (asked, state) = against(b"{\"ok\":true,\"power\":\"on\"}\n", PowerOp::On).await;
        assert_eq!(asked, "{\"op\":\"on\",\"blade\":\"r1-c1-b01\"}\n");
        assert_eq!(state.unwrap(), PowerState::On);
    }

    #[tokio::test]
    async fn a_one_time_boot_device_names_the_device() {
        let (asked, state) = against(b"{\"ok\":true,\"power\":\"off\"}\n", PowerOp::BootDisk).await;
        assert_eq!(asked, "{\"op\":\"boot\",\"blade\":\"r1-c1-b01\",\"device\":\"disk\"}\n");
        assert_eq!(state.unwrap(), PowerState::Off);
    }

    #[tokio::test]
    async fn a_refusal_keeps_the_labs_reason() {
        let (_, state) =
            against(b"{\"ok\":false,\"error\":\"no such blade\"}\n", PowerOp::Cycle).await;
        let error = state.unwrap_err();
        assert!(matches!(error, PowerError::Refused { .. }));
        assert!(error.to_string().ends_with("refused `cycle` for r1-c1-b01: no such blade"));
    }

    #[tokio::test]
    async fn garbage_half_a_line_and_silence_are_protocol_errors() {
        for bytes in [&b"\xff\x00\n"[..], b"{\"ok\":tr", b"", b"{\"ok\":true}\n"] {
            let (_, state) = against(bytes, PowerOp::Status).await;
            assert!(matches!(state, Err(PowerError::Protocol { .. })), "{bytes:?}: {state:?}");
        }
    }

    #[tokio::test]
    async fn a_lab_that_is_down_is_unreachable_and_named() {
        let error =
            power(Path::new("/nonexistent/power.sock"), "b", PowerOp::On).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/power.sock"), "{error}");
        assert!(matches!(error, PowerError::Unreachable { .. }));
    }
}
