//! Numbers that are like weights, for tests.

/// Numbers that follow from a seed.
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn number(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// A number from a distribution that is nearly normal, with a deviation of 0.02.
    pub fn weight(&mut self) -> f32 {
        0.02 * ((0..12).map(|_| self.number() as f32 / (1u64 << 32) as f32).sum::<f32>() - 6.0)
    }
}

/// The bytes of a bf16.
pub fn bf16(weight: f32) -> [u8; 2] {
    ((weight.to_bits() >> 16) as u16).to_le_bytes()
}
