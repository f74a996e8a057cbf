//! Leases and deadlines end by the wall clock, because they outlive the daemon. When it is set by
//! hours, they must end neither at once nor hours late: the jump is found here. Pure.

use super::Millis;

/// Below it, a difference is the clock being slewed, or a scheduler that was late.
pub const JUMP_MS: Millis = 10_000;

/// The wall clock and a steady one, read together.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Millis,
    steady: Millis,
}

impl Clock {
    pub fn new(wall: Millis, steady: Millis) -> Clock {
        Clock { wall, steady }
    }

    /// By how much the wall clock was set since the last look.
    pub fn look(&mut self, wall: Millis, steady: Millis) -> Option<Millis> {
        let jump = wall.saturating_sub(self.wall).saturating_sub(steady - self.steady);
        *self = Clock { wall, steady };
        (jump.abs() > JUMP_MS).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    #[test]
    fn a_clock_that_is_set_is_a_jump_and_one_that_runs_is_none() {
        let mut clock = Clock::new(5 * HOUR, 0);
        assert_eq!(clock.look(6 * HOUR, HOUR), None);
        assert_eq!(clock.look(6 * HOUR + 1_500, HOUR + 1_000), None, "slewed");
        assert_eq!(clock.look(9 * HOUR + 1_500, HOUR + 1_000), Some(3 * HOUR));
        assert_eq!(clock.look(0, HOUR + 1_000), Some(-9 * HOUR - 1_500));
        assert_eq!(clock.look(1_000, HOUR + 2_000), None);
    }
}
