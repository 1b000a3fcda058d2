package features

import "time"

// Feature is one file as written.
type Feature struct {
	Path        string // as given, joined with the searched directory
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
	Line    int    // line of the scenario; of the row, if it comes from an outline
	Feature string // the feature's name, followed by its path if another loaded feature has the same name
	Rule    string // the rule's name, or empty
	Name    string // placeholders filled
	Title   string // the name as written, placeholders unfilled
	Label   string // Title, qualified until it is unique within Feature and Example
	Example string // the outline row as "column=cell, column=cell"; empty outside outlines
	Tags    []Tag  // inherited: feature, rule, scenario, examples
	Policy  Policy
	Steps   []Step

	// Asked says that a line in Load's paths selects this very scenario, its Examples or its row, not a whole feature or rule.
	Asked bool

	// Mistakes are those of this scenario alone: it must not run, because it would run nothing or not as its tags say. The
	// rest of its file runs.
	Mistakes []Problem
}

// Sentence is a scenario tagged @step. It does not run: its steps replace a step with its name as text. Package steps
// defines the meaning of its placeholders.
type Sentence struct {
	Path        string
	Line        int
	Column      int    // of the keyword
	Feature     string // the feature's name as written
	Text        string // the scenario's name as written, placeholders unfilled
	Description string
	Browser     bool   // @browser: it needs a browser
	Steps       []Step // its own, without those of a background
	Named       bool   // Load was asked for its file and did not just find it next to others
}

// Step is one step of a compiled scenario.
type Step struct {
	Keyword   string   // as written, trimmed: "Given", "Und", "*"
	Text      string   // placeholders filled
	Values    [][2]int // the parts of Text, from and to, that the row of an outline filled in, in order
	Label     string   // the text as written, placeholders unfilled, with " (2)" after a second occurrence in the scenario
	Path      string   // of its file
	Type      string   // "Context", "Action", "Outcome" as Given, When and Then say in any language, And and But after them; "Unknown" for *
	Line      int
	Column    int
	DocString *DocString // or nil
	Table     [][]string // rows of cells, or nil

	tableFirst bool // the table is above the doc string
}

// DocString is the block of text under a step.
type DocString struct {
	MediaType string
	Content   string

	written string // the media type, if it has white space around it; empty otherwise
}

// Tag is a label of a feature, rule, scenario or examples block. "@every:1m" has the name "every" and the value "1m".
type Tag struct {
	Name  string // without "@"
	Value string // after the first colon, or empty
	Line  int
}

// String returns the tag as written.
func (t Tag) String() string {
	if t.Value == "" {
		return "@" + t.Name
	}
	return "@" + t.Name + ":" + t.Value
}

// Policy is the content of the tags about when and how to run a scenario. Of several tags with one name the last one wins,
// so a scenario overrides its feature. A zero value means that the configuration's default applies.
type Policy struct {
	Every    time.Duration // @every:1m, the schedule's interval
	Timeout  time.Duration // @timeout:90s, the deadline of one run
	Retries  int           // @retries:2, quick repetitions before a failure counts as hard; -1 if not set
	Warn     time.Duration // @warn:5s, budget of each step
	Crit     time.Duration // @crit:20s, budget of each step
	Browser  bool          // @browser, the web steps run in a real browser
	Manual   bool          // @manual, runs only when it is named
	Severity string        // @severity:page
	Owner    string        // @owner:web
	Location string        // @location:eu
	Parallel int           // @parallel:8, runs that may be in progress at each address of its targets; 0 if not set
	Some, Of int           // @alert:3of5, an alert is hard when so many of the last runs were not OK; 0 if not set
	Needs    string        // @needs:Log_in, the names as written, with a blank between them; see Needs
	Flapping string        // @flapping:off or on; empty if not set
	Base     string        // @base:https://www.example.org, against which the addresses of its steps resolve
}
