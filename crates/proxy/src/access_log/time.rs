//! Points of time as RFC 3339, in UTC.

/// Appends `2026-01-02T03:04:05.678Z` for microseconds since 1970.
pub(crate) fn push_rfc3339(into: &mut String, micros: u64) {
    let seconds = micros / 1_000_000;
    let (year, month, day) = civil((seconds / 86_400) as i64);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = micros / 1000 % 1000;
    // A line for each request: the formatter of the standard library takes several times as long.
    padded(into, year as u64, 4);
    for (before, value) in [
        ('-', month as u64),
        ('-', day as u64),
        ('T', hour),
        (':', minute),
    ] {
        into.push(before);
        padded(into, value, 2);
    }
    into.push(':');
    padded(into, second, 2);
    into.push('.');
    padded(into, millis, 3);
    into.push('Z');
}

/// Appends the last `digits` digits of `value`.
fn padded(into: &mut String, value: u64, digits: u32) {
    for place in (0..digits).rev() {
        into.push(char::from(b'0' + (value / 10_u64.pow(place) % 10) as u8));
    }
}

/// Year, month and day of a number of days since 1970 (proleptic Gregorian calendar: eras of 400
/// years, years that start in March so that the leap day is the last).
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let written = |micros| {
            let mut text = String::new();
            push_rfc3339(&mut text, micros);
            text
        };
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(951_782_400_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(written(1_709_164_800_123_456), "2024-02-29T00:00:00.123Z");
        assert_eq!(written(1_798_761_599_999_000), "2026-12-31T23:59:59.999Z");
    }
}
