//! What every way to a blade's power has in common.
use std::fmt;
use std::time::Duration;

/// What is asked of a blade's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerOp {
    /// Power up; a blade that is on stays as it is.
    On,
    /// Cut the power at once, as with the button held; a blade that is off stays off.
    Off,
    /// Off, then on; a blade that was off is only powered up.
    Cycle,
    /// Only ask.
    Status,
    /// At the next power-up, once: boot from the network. Does not touch the power.
    BootPxe,
    /// At the next power-up, once: boot from the disk. Does not touch the power.
    BootDisk,
}

/// The power as the controller reports it after the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerState {
    On,
    Off,
}

/// Why an operation did not succeed; the text is for operators.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// Nobody answers at this address.
    #[error("power controller {address} cannot be reached: {source}")]
    Unreachable { address: String, source: std::io::Error },
    /// It was reached, but gave no answer in time. Whether the operation was
    /// done is not known: ask for the status.
    #[error("power controller {address} gave no answer to `{op}` for {blade} within {limit:?}")]
    Timeout { address: String, blade: String, op: PowerOp, limit: Duration },
    /// It understood and said no.
    #[error("power controller {address} refused `{op}` for {blade}: {reason}")]
    Refused { address: String, blade: String, op: PowerOp, reason: String },
    /// It answered something that is not its protocol.
    #[error("power controller {address} answered `{op}` for {blade} with something else: {reason}")]
    Protocol { address: String, blade: String, op: PowerOp, reason: String },
}

impl fmt::Display for PowerOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
            Self::Status => "status",
            Self::BootPxe => "boot pxe",
            Self::BootDisk => "boot disk",
        })
    }
}

impl fmt::Display for PowerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}
