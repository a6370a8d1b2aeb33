//! Numbers as ECMAScript prints them (`Number::toString`).

/// Prints numbers.
pub(super) struct NumberPrinter {
    integer: itoa::Buffer,
    double: ryu_js::Buffer,
}

impl NumberPrinter {
    pub fn new() -> Self {
        NumberPrinter {
            integer: itoa::Buffer::new(),
            double: ryu_js::Buffer::new(),
        }
    }

    pub fn integer(&mut self, number: i32, text: &mut Vec<u8>) {
        text.extend_from_slice(self.integer.format(number).as_bytes());
    }

    /// JSON has no form for what is not finite.
    pub fn double(&mut self, number: f64, text: &mut Vec<u8>) {
        if !number.is_finite() {
            text.extend_from_slice(b"null");
        } else if let Some(decimal) = Decimal::of(number.abs()) {
            if number < 0.0 {
                text.push(b'-');
            }
            self.decimal(decimal, text);
        } else {
            text.extend_from_slice(self.double.format_finite(number).as_bytes());
        }
    }

    fn decimal(&mut self, Decimal { digits, places }: Decimal, text: &mut Vec<u8>) {
        let digits = self.integer.format(digits).as_bytes();
        match digits.len().checked_sub(places) {
            Some(whole) if whole > 0 => {
                text.extend_from_slice(&digits[..whole]);
                if places > 0 {
                    text.push(b'.');
                    text.extend_from_slice(&digits[whole..]);
                }
            }
            _ => {
                text.extend_from_slice(b"0.");
                text.extend_from_slice(&b"00000000"[..places - digits.len()]);
                text.extend_from_slice(digits);
            }
        }
    }
}

/// A number with few digits, which prices and quantities are: `digits / 10^places`, with as few
/// places as it has. It is found in a fraction of the time that the general way takes.
///
/// A double has at most one decimal of up to 15 digits that is read as this very double (`DBL_DIG` of
/// C). So if there is one, it is the shortest, which ECMAScript asks for.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    places: usize,
}

impl Decimal {
    /// `None`: it has more digits, or is printed with an exponent.
    fn of(number: f64) -> Option<Self> {
        const DIGITS_END: u64 = 10u64.pow(15);
        // Smaller ones have an exponent from 1e-7 on. Zero is a whole number.
        if number < 1e-6 && number != 0.0 {
            return None;
        }
        let (scale, places) = match number {
            ..1e7 => (1e8, 8),
            ..1e11 => (1e4, 4),
            ..1e15 => (1.0, 0),
            _ => return None,
        };
        // Rounded; the check below finds out whether it was right.
        let digits = (number * scale + 0.5) as u64;
        // Both operands are exact, so that the quotient is the double as which the decimal is read.
        if digits >= DIGITS_END || digits as f64 / scale != number {
            return None;
        }
        Some(Decimal { digits, places }.without_trailing_zeros())
    }

    fn without_trailing_zeros(mut self) -> Self {
        for (places, power) in [(4, 10_000), (2, 100), (1, 10), (1, 10)] {
            while self.places >= places && self.digits.is_multiple_of(power) {
                self.digits /= power;
                self.places -= places;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(number: f64) -> String {
        let mut text = Vec::new();
        NumberPrinter::new().double(number, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_short_way_agrees_with_the_general_one() {
        let mut general = ryu_js::Buffer::new();
        let mut state = 1u64;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 11
        };
        for round in 0..300_000 {
            let digits = next() % 10u64.pow(1 + round % 17);
            let number = digits as f64 / 10f64.powi((next() % 20) as i32);
            for number in [number, -number, f64::from_bits(number.to_bits() + 1)] {
                assert_eq!(printed(number), general.format_finite(number));
            }
        }
    }

    #[test]
    fn edges_are_printed_as_ecmascript_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-6, "0.0000015"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (123_456_789.125, "123456789.125"),
            (9_999_999.999_999_99, "9999999.99999999"),
            (1e7, "10000000"),
            (1e15, "1000000000000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ];
        for (number, text) in cases {
            assert_eq!(printed(number), text);
        }
    }
}
