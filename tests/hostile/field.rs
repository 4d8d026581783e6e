//! Parity by interpolation over GF(2^8), straight from the definition.

fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1d };
        b >>= 1;
    }
    product
}

fn inverse(a: u8) -> u8 {
    (1..=255).find(|b| multiply(a, *b) == 1).unwrap()
}

/// What each of the `k` data bytes counts at the point `x`.
fn weights(k: u8, x: u8) -> Vec<u8> {
    let weight = |i: u8| {
        let others = (0..k).filter(|j| *j != i);
        others.fold(1, |w, j| multiply(w, multiply(x ^ j, inverse(i ^ j))))
    };
    (0..k).map(weight).collect()
}

/// The bytes of the parity volume with index `x` after its header page.
pub fn parity(data: &[Vec<u8>], x: u8) -> Vec<u8> {
    let longest = data.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = vec![0; longest];
    for (volume, weight) in data.iter().zip(weights(data.len() as u8, x)) {
        let products: Vec<u8> = (0..=255).map(|b| multiply(weight, b)).collect();
        out.iter_mut().zip(volume).for_each(|(o, b)| *o ^= products[usize::from(*b)]);
    }
    out
}
