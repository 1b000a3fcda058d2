// Package features reads .feature and .feature.md files and returns compiled scenarios, ready to be bound to step definitions.
//
// The language is Gherkin as in the Gherkin reference (https://cucumber.io/docs/gherkin/reference/): features, rules,
// backgrounds, scenario outlines with their examples, doc strings, data tables, tags, comments and all languages. The parser
// is that of the Gherkin project, in the version that godog uses, so godog runs exactly what was loaded.
//
// In addition, the package
//   - reports every mistake of every file at once, with its place and without the terms of parsers;
//   - finds misspelled keywords that the parser takes for a description ("Scenaro:");
//   - rejects what would run nothing: an empty file, a feature without scenarios, a scenario without steps, a selection
//     or tag expression that matches nothing;
//   - reads the policy tags (@every:1m and so on, see [Policy]);
//   - gives each scenario and step a unique label that changes only with the text;
//   - renders each scenario as a separate Gherkin document, see [Scenario.Source].
//
// The durations of policy tags are those of [time.ParseDuration], with optional whole days before them: @every:90s,
// @every:1m30s, @every:1d, @every:1d12h. They are more than zero and at most a hundred years. @retries is a whole number
// from 0, @parallel one from 1, @browser and @manual take no value, the others any value without blanks.
//
// Files called *.feature.md hold Markdown with Gherkin (https://github.com/cucumber/gherkin/blob/main/MARKDOWN_WITH_GHERKIN.md),
// with English keywords.
//
// Package steps defines the meaning of sentences.
package features
