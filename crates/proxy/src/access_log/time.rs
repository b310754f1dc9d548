//! Points of time as RFC 3339, in UTC.

/// `2026-01-02T03:04:05.678Z` for microseconds since 1970.
pub(crate) fn rfc3339(micros: u64) -> [u8; 24] {
    let seconds = micros / 1_000_000;
    let (year, month, day) = civil((seconds / 86_400) as i64);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = micros / 1000 % 1000;
    // A line for each request: the formatter of the standard library takes several times as long.
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (place, value) in [
        (0, year as u64 / 100),
        (2, year as u64),
        (5, month as u64),
        (8, day as u64),
        (11, hour),
        (14, minute),
        (17, second),
        (20, millis / 10),
    ] {
        text[place] = digit(value / 10);
        text[place + 1] = digit(value);
    }
    text[22] = digit(millis);
    text
}

/// The last digit of a number.
const fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
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
        let written = |micros| String::from_utf8(rfc3339(micros).to_vec()).unwrap();
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(951_782_400_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(written(1_709_164_800_123_456), "2024-02-29T00:00:00.123Z");
        assert_eq!(written(1_798_761_599_999_000), "2026-12-31T23:59:59.999Z");
    }
}
