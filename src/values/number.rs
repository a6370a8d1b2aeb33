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
        if number < 0 {
            text.push(b'-');
        }
        self.whole(i64::from(number).abs(), text);
    }

    /// JSON has no form for what is not finite.
    pub fn double(&mut self, number: f64, text: &mut Vec<u8>) {
        if !number.is_finite() {
            text.extend_from_slice(b"null");
        } else if let Some(decimal) = Decimal::of(number.abs()) {
            if number < 0.0 {
                text.push(b'-');
            }
            self.whole(decimal.whole, text);
            if decimal.fraction > 0 {
                push_fraction(decimal.fraction, text);
            }
        } else {
            text.extend_from_slice(self.double.format_finite(number).as_bytes());
        }
    }

    fn whole(&mut self, number: i64, text: &mut Vec<u8>) {
        match u32::try_from(number) {
            Ok(short) if short < EIGHT_DIGITS_END => {
                let digits = eight_digits(short);
                // Of zero one digit is left.
                let zeros = (digits | 1 << 56).trailing_zeros() / 8;
                let end = text.len() + 8 - zeros as usize;
                text.extend_from_slice(&((digits | ZEROS) >> (8 * zeros)).to_le_bytes());
                text.truncate(end);
            }
            _ => text.extend_from_slice(self.integer.format(number).as_bytes()),
        }
    }
}

const EIGHT_DIGITS_END: u32 = 100_000_000;

/// Eight times the digit zero in ASCII.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// Appends a point and up to eight digits: `fraction / 10^8`, which is not zero.
fn push_fraction(fraction: u32, text: &mut Vec<u8>) {
    let digits = eight_digits(fraction);
    let zeros = digits.leading_zeros() / 8;
    text.push(b'.');
    let end = text.len() + 8 - zeros as usize;
    text.extend_from_slice(&(digits | ZEROS).to_le_bytes());
    text.truncate(end);
}

/// The eight digits of a number below 10^8, one in each byte, the first one in the lowest. All at once:
/// how many there are is not foreseen by the processor, and each time that it is wrong takes as long as this.
fn eight_digits(number: u32) -> u64 {
    // Two numbers below 10^4, four below 100, and eight below 10, each behind the one that it is cut from.
    // The factors divide by 100 and 10 exactly what is as small as that.
    let number = u64::from(number);
    let high = number / 10_000;
    let fours = high | (number - 10_000 * high) << 32;
    let highs = (fours * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let twos = highs | (fours - 100 * highs) << 16;
    let highs = (twos * 103) >> 10 & 0x000f_000f_000f_000f;
    highs | (twos - 10 * highs) << 8
}

/// What a fraction of eight digits is a part of.
const FRACTION_END: u64 = EIGHT_DIGITS_END as u64;

/// A number with few digits, which prices and quantities are: `whole + fraction / 10^8`. It is found in a
/// fraction of the time that the general way takes.
///
/// A double has at most one decimal of up to 15 digits that is read as this very double (`DBL_DIG` of
/// C). So if there is one, it is the shortest, which ECMAScript asks for.
#[derive(Clone, Copy)]
struct Decimal {
    whole: i64,
    fraction: u32,
}

impl Decimal {
    /// `None`: it has more digits, or is printed with an exponent.
    fn of(number: f64) -> Option<Self> {
        // Smaller ones have an exponent from 1e-7 on. Zero is a whole number.
        if number < 1e-6 && number != 0.0 {
            return None;
        }
        match number {
            ..1e7 => Self::with_places::<FRACTION_END>(number),
            ..1e11 => Self::with_places::<10_000>(number),
            ..1e15 => Self::with_places::<1>(number),
            _ => None,
        }
    }

    /// The same of one below `10^15 / PLACES_END`, with as many places as that has zeros: a processor
    /// divides by what is known beforehand several times as fast.
    fn with_places<const PLACES_END: u64>(number: f64) -> Option<Self> {
        const DIGITS_END: i64 = 10i64.pow(15);
        let scale = PLACES_END as f64;
        // Rounded; the check below finds out whether it was right.
        let digits = (number * scale + 0.5) as i64;
        // Both operands are exact, so that the quotient is the double as which the decimal is read.
        if digits >= DIGITS_END || digits as f64 / scale != number {
            return None;
        }
        let digits = digits as u64;
        let whole = digits / PLACES_END;
        let fraction = (digits - whole * PLACES_END) * (FRACTION_END / PLACES_END);
        Some(Decimal {
            whole: whole as i64,
            fraction: fraction as u32,
        })
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
    fn eight_digits_are_those_of_the_number() {
        let numbers = (0..EIGHT_DIGITS_END).step_by(997);
        for number in numbers.chain([1, 9, 10, 9_999, 10_000, 12_345_678, 99_999_999]) {
            let digits = (eight_digits(number) | ZEROS).to_le_bytes();
            assert_eq!(digits.as_slice(), format!("{number:08}").as_bytes());
        }
    }

    #[test]
    fn integers_are_printed_as_they_are() {
        let powers = (0..10).flat_map(|power| {
            let power = 10i32.pow(power);
            [power - 1, power, -power, 1 - power]
        });
        for number in powers.chain([i32::MIN, i32::MAX, 12_345_678, -7]) {
            let mut text = Vec::new();
            NumberPrinter::new().integer(number, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), number.to_string());
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
