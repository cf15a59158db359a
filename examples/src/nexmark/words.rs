//! The words that events are made of: names, cities, channels and their pages, and letters by chance.
//!
//! All of it follows from the seed. The letters of `extra` are cut out of one long text, because drawing each
//! would cost more than all the rest of an event.

use highwater::connectors::generator::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Text;

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
/// Few, so that a query finds something among few events.
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
/// Where half of all bidders come from.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// How many other channels there are.
const CHANNELS: u32 = 10_000;
/// The length of the text that `extra` is cut out of; little enough for a processor's cache.
const LETTERS: usize = 1 << 16;
/// The least length of a word by chance.
const WORD_MIN: usize = 3;

/// What words are taken from.
pub(super) struct Words {
    letters: String,
    hot_pages: Vec<String>,
    channels: Vec<(String, String)>,
}

impl Words {
    /// The words of a seed.
    pub(super) fn new(random: &mut ChaCha8Rng) -> Words {
        let letters = (0..LETTERS).map(|_| letter(random)).collect();
        let hot_pages = HOT_CHANNELS.iter().map(|_| page(random)).collect();
        let channels = (0..CHANNELS).map(|number| {
            let mut page = page(random);
            if random.random_range(0..10) > 0 {
                page.push_str(&format!("&channel_id={}", (number as i32).reverse_bits().unsigned_abs()));
            }
            (format!("channel-{number}"), page)
        });
        Words { letters, hot_pages, channels: channels.collect() }
    }

    /// A channel and its page.
    pub(super) fn channel(&self, random: &mut ChaCha8Rng) -> (Text, Text) {
        if random.random_range(0..2) > 0 {
            let hot = random.random_range(0..HOT_CHANNELS.len());
            return (HOT_CHANNELS[hot].into(), self.hot_pages[hot].as_str().into());
        }
        let (channel, page) = &self.channels[random.random_range(0..self.channels.len())];
        (channel.as_str().into(), page.as_str().into())
    }

    /// What fills an event of `size` bytes up to about `average`, a fifth more or less.
    pub(super) fn extra(&self, random: &mut ChaCha8Rng, size: usize, average: usize) -> Text {
        let Some(missing) = average.checked_sub(size) else { return "".into() };
        let fifth = (missing as f64 * 0.2).round() as usize;
        let length = missing - fifth + if fifth == 0 { 0 } else { random.random_range(0..2 * fifth) };
        let from = random.random_range(0..LETTERS - length);
        self.letters[from..from + length].into()
    }
}

/// A first and a last name.
pub(super) fn name(random: &mut ChaCha8Rng) -> String {
    format!("{} {}", one_of(random, &FIRST_NAMES), one_of(random, &LAST_NAMES))
}

/// A city.
pub(super) fn city(random: &mut ChaCha8Rng) -> &'static str {
    one_of(random, &CITIES)
}

/// A state, in two letters.
pub(super) fn state(random: &mut ChaCha8Rng) -> &'static str {
    one_of(random, &STATES)
}

/// An address for mail.
pub(super) fn email(random: &mut ChaCha8Rng) -> String {
    format!("{}@{}.com", word(random, 7, ' '), word(random, 5, ' '))
}

/// The number of a credit card.
pub(super) fn credit_card(random: &mut ChaCha8Rng) -> String {
    let groups: [u16; 4] = std::array::from_fn(|_| random.random_range(0..10_000));
    let [a, b, c, d] = groups;
    format!("{a:04} {b:04} {c:04} {d:04}")
}

/// Fewer than `limit` letters, at least 3 with what stands between them; one in 13 is `special`.
pub(super) fn word(random: &mut ChaCha8Rng, limit: usize, special: char) -> String {
    let length = random.random_range(WORD_MIN..limit);
    let letters = (0..length).map(|_| if random.random_range(0..13) == 0 { special } else { letter(random) });
    letters.collect::<String>().trim().to_owned()
}

fn page(random: &mut ChaCha8Rng) -> String {
    let [a, b, c] = std::array::from_fn(|_| word(random, 5, '_'));
    format!("https://www.nexmark.com/{a}/{b}/{c}/item.htm?query=1")
}

fn letter(random: &mut ChaCha8Rng) -> char {
    char::from(random.random_range(b'a'..=b'z'))
}

fn one_of(random: &mut ChaCha8Rng, words: &[&'static str]) -> &'static str {
    words[random.random_range(0..words.len())]
}
