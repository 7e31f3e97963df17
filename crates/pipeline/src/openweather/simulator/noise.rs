//! Reproducible randomness: the same seed, place, channel and time always give the same number.

/// The purpose of a number. Channels are independent of each other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Channel {
    Pressure,
    AirMass,
    Clouds,
    Wet,
    Shower,
    Wind,
    Direction,
    Turbulence,
    Smog,
    Delay,
    Spread,
    Visibility,
    Forecast,
}

/// The randomness of one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    key: u64,
}

impl Noise {
    pub(crate) fn new(seed: u64, place: u64) -> Self {
        Self {
            key: mix(seed ^ mix(place)),
        }
    }

    /// A number in 0..1 for `n`.
    pub(crate) fn draw(&self, channel: Channel, n: i64) -> f64 {
        let bits = mix(self.key ^ mix((channel as u64) << 56 ^ n.cast_unsigned()));
        #[expect(
            clippy::cast_precision_loss,
            reason = "53 bits are what a double holds"
        )]
        let fraction = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }

    /// A number in -1..1 that changes smoothly with time, and oscillates about once a period.
    pub(crate) fn wave(&self, channel: Channel, seconds: i64, period_s: i64) -> f64 {
        let n = seconds.div_euclid(period_s);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a period is a few days of seconds"
        )]
        let x = seconds.rem_euclid(period_s) as f64 / period_s as f64;
        let (from, to) = (self.draw(channel, n), self.draw(channel, n + 1));
        let step = x * x * (3.0 - 2.0 * x);
        2.0 * (from + (to - from) * step) - 1.0
    }
}

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Channel, Noise};

    #[test]
    fn draws_fill_the_unit_interval_evenly_and_differ_by_channel_and_seed() {
        let noise = Noise::new(1, 2);
        let mut tenths = [0; 10];
        for n in -5_000..5_000 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0..10"
            )]
            let tenth = (noise.draw(Channel::Wet, n) * 10.0) as usize;
            tenths[tenth] += 1;
        }
        assert!(
            tenths.iter().all(|count| (850..1150).contains(count)),
            "{tenths:?}"
        );
        let others = [
            Noise::new(1, 2).draw(Channel::Wind, 7),
            Noise::new(2, 2).draw(Channel::Wet, 7),
        ];
        assert!(
            others
                .iter()
                .all(|other| (other - noise.draw(Channel::Wet, 7)).abs() > 1e-9)
        );
    }

    #[test]
    fn wave_is_smooth() {
        let noise = Noise::new(1, 2);
        for t in -20_000..20_000 {
            let step = noise.wave(Channel::Wet, t + 1, 3_600) - noise.wave(Channel::Wet, t, 3_600);
            assert!(step.abs() < 0.001, "{t}: {step}");
        }
    }
}
