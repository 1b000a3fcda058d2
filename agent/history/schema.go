package history

// migrations are the tables. Times are microseconds of Unix time in UTC; days are days since 1970 in UTC.
var migrations = []string{`
-- Every scenario that was ever exported, as it was last.
CREATE TABLE scenarios (
	number   INTEGER PRIMARY KEY,
	id       TEXT NOT NULL UNIQUE, -- result.Identity.ID
	feature  TEXT NOT NULL, scenario TEXT NOT NULL, example TEXT NOT NULL, file TEXT NOT NULL, line INTEGER NOT NULL,
	owner    TEXT NOT NULL, severity TEXT NOT NULL, location TEXT NOT NULL,
	interval INTEGER NOT NULL,
	seen     INTEGER NOT NULL
);
-- The steps of runs without their numbers. The number is a hash of the content.
CREATE TABLE shapes (number INTEGER PRIMARY KEY, seen INTEGER NOT NULL, steps BLOB NOT NULL);
-- The steps and phases of a scenario that have durations.
CREATE TABLE series (number INTEGER PRIMARY KEY, scenario INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (scenario, name));

-- Runs of all scenarios as they came: one row a commit. They move to blocks at the end of each hour, or when they are many.
CREATE TABLE journal (
	number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, -- the first and last beginning of a run
	runs INTEGER NOT NULL, bad INTEGER NOT NULL, -- bad are not OK
	records BLOB NOT NULL
);
-- Runs of one scenario in one hour.
CREATE TABLE blocks (
	number INTEGER PRIMARY KEY, scenario INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
	ok INTEGER NOT NULL, warning INTEGER NOT NULL, critical INTEGER NOT NULL, unknown INTEGER NOT NULL, bad INTEGER NOT NULL,
	records BLOB NOT NULL
);
CREATE INDEX blocks_scenario ON blocks (scenario, first, bad, ok, warning, critical, unknown);
CREATE INDEX blocks_last ON blocks (last);

-- The hours of the current day of each scenario, and those of the days before. Total is the sum up to that day, with it, so that
-- two rows tell the counts between them.
CREATE TABLE today (
	scenario INTEGER PRIMARY KEY, day INTEGER NOT NULL,
	ok INTEGER NOT NULL, warning INTEGER NOT NULL, critical INTEGER NOT NULL, unknown INTEGER NOT NULL,
	hours BLOB NOT NULL
);
CREATE TABLE days (
	number INTEGER PRIMARY KEY, scenario INTEGER NOT NULL, day INTEGER NOT NULL,
	ok INTEGER NOT NULL, warning INTEGER NOT NULL, critical INTEGER NOT NULL, unknown INTEGER NOT NULL,
	total_ok INTEGER NOT NULL, total_warning INTEGER NOT NULL, total_critical INTEGER NOT NULL, total_unknown INTEGER NOT NULL,
	hours BLOB NOT NULL
);
CREATE INDEX days_scenario ON days (scenario, day, total_ok, total_warning, total_critical, total_unknown);
CREATE INDEX days_day ON days (day);

-- Times in which a scenario was not OK for one reason.
CREATE TABLE spells (
	number INTEGER PRIMARY KEY, scenario INTEGER NOT NULL,
	began INTEGER NOT NULL, ended INTEGER, last INTEGER NOT NULL, -- ended is null while it lasts; last is the last run in it
	runs INTEGER NOT NULL, state INTEGER NOT NULL, stale INTEGER NOT NULL,
	reason TEXT NOT NULL, blame TEXT NOT NULL, step TEXT NOT NULL, summary TEXT NOT NULL
);
CREATE INDEX spells_ended ON spells (ended, began);
CREATE INDEX spells_scenario ON spells (scenario, began);

-- Changes of alerts, deployments, notes.
CREATE TABLE events (
	number INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT UNIQUE, -- whoever tells the same twice gives it a key
	scenario TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, author TEXT NOT NULL, link TEXT NOT NULL,
	state TEXT NOT NULL, severity INTEGER NOT NULL, rule TEXT NOT NULL, alert TEXT NOT NULL
);
CREATE INDEX events_at ON events (at);

-- The times in which an agent wrote here. Ended is null after a crash; last is less than two minutes old while it runs.
CREATE TABLE sessions (number INTEGER PRIMARY KEY, began INTEGER NOT NULL, last INTEGER NOT NULL, ended INTEGER, lost INTEGER NOT NULL, version TEXT NOT NULL);
`}
