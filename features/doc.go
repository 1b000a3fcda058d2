// Package features reads .feature and .feature.md files and gives back compiled scenarios, ready to be bound to step definitions and run.
//
// The language is Gherkin as the Gherkin reference defines it (https://cucumber.io/docs/gherkin/reference/), read by
// the Gherkin project's own parser in the version that godog uses, so that what is loaded is what runs: features, rules,
// backgrounds, scenario outlines with their examples, doc strings, data tables, tags, comments and all languages.
//
// On top of it the package
//   - reports every mistake of every file at once, with its place and in words that need no knowledge of parsers;
//   - finds what the parser takes for a description although a keyword was meant ("Scenaro:");
//   - refuses what would run nothing: an empty file, a feature without scenarios, a scenario without steps, a selection
//     or tag expression that matches nothing;
//   - reads the policy tags (@every:1m and so on, see [Policy]);
//   - gives each scenario and step a label that is unique and stays the same as long as the text does;
//   - renders each scenario as a Gherkin document of its own, see [Scenario.Source].
//
// The durations of policy tags are those of [time.ParseDuration], with whole days allowed before them: @every:90s,
// @every:1m30s, @every:1d, @every:1d12h. They are more than zero and at most a hundred years. @retries is a whole number
// from 0, @browser and @manual take no value, the others any value without blanks.
//
// Files called *.feature.md hold Markdown with Gherkin (https://github.com/cucumber/gherkin/blob/main/MARKDOWN_WITH_GHERKIN.md),
// with English keywords.
//
// It leaves out what sentences mean (package steps).
package features
