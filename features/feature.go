package features

import "time"

// Feature is one file as it was written.
type Feature struct {
	Path        string // as it was given, joined with the directory that was walked
	Name        string
	Description string
	Language    string // Gherkin language code, "en" unless the file says otherwise
	Line        int
	Tags        []Tag
	Scenarios   []*Scenario // compiled, in file order
}

// Scenario is one compiled scenario (Gherkin's pickle): background and rule applied, one outline row filled in.
// It is never changed after Load returns it.
type Scenario struct {
	Path    string
	Line    int    // line of the scenario; of the row, when it comes from an outline
	Feature string // the feature's name; with its path behind it when another loaded feature has the same name
	Rule    string // the rule's name, or empty
	Name    string // placeholders filled
	Label   string // the name as written, placeholders unfilled, qualified until it is unique within Feature and Example
	Example string // the outline row as "column=cell, column=cell"; empty outside outlines
	Tags    []Tag  // inherited: feature, rule, scenario, examples
	Policy  Policy
	Steps   []Step
	Source  []byte // a Gherkin document that holds this scenario alone and compiles to exactly this pickle
}

// Sentence is a scenario tagged @step: it does not run, its steps are what its name stands for wherever a step has that
// text. What its placeholders mean is the business of package steps.
type Sentence struct {
	Path        string
	Line        int
	Column      int    // of the keyword
	Feature     string // the feature's name as written
	Text        string // the scenario's name as written, placeholders unfilled
	Description string
	Browser     bool   // @browser: it makes sense in a browser only
	Steps       []Step // its own, without those of a background
	Named       bool   // its file is one of those that Load was asked for, and not one that it found beside them
}

// Step is one step of a compiled scenario.
type Step struct {
	Keyword   string // as written, trimmed: "Given", "Und", "*"
	Text      string // placeholders filled
	Label     string // the text as written, placeholders unfilled, with " (2)" behind a second occurrence in the scenario
	Path      string // of the file that it is written in
	Type      string // "Context", "Action", "Outcome" as Given, When and Then say in any language, And and But after them; "Unknown" for *
	Line      int
	Column    int
	DocString *DocString // or nil
	Table     [][]string // rows of cells, or nil
}

// DocString is the block of text under a step.
type DocString struct {
	MediaType string
	Content   string
}

// Tag is a label of a feature, rule, scenario or examples block. "@every:1m" has the name "every" and the value "1m".
type Tag struct {
	Name  string // without "@"
	Value string // behind the first colon, or empty
	Line  int
}

// String gives the tag as it is written.
func (t Tag) String() string {
	if t.Value == "" {
		return "@" + t.Name
	}
	return "@" + t.Name + ":" + t.Value
}

// Policy is what the tags say about when and how to run a scenario. Of several tags with one name the last one wins, so
// that a scenario overrides its feature. Zero means "not said": the configuration's default applies.
type Policy struct {
	Every    time.Duration // @every:1m, the schedule's interval
	Timeout  time.Duration // @timeout:90s, the deadline of one run
	Retries  int           // @retries:2, quick repetitions before a failure counts as hard; -1 when not said
	Warn     time.Duration // @warn:5s, budget of each step
	Crit     time.Duration // @crit:20s, budget of each step
	Browser  bool          // @browser, the web steps run in a real browser
	Manual   bool          // @manual, never scheduled
	Severity string        // @severity:page
	Owner    string        // @owner:web
	Location string        // @location:eu
}
