package cucumber

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"regexp"
	"regexp/syntax"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/cucumber/godog"
	"github.com/cucumber/godog/formatters"
	messages "github.com/cucumber/messages/go/v34"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// Hooks that a team's own code registers stay with godog. Definitions are taken over, so that the library alone decides what a
// step means and the runner times the call alone: the registered ones are made to match nothing, and copies of them are called,
// by godog's own code, which converts the arguments. godog has no public way to any of this; readRegistered checks by name and
// type all that it touches.

// Glue registers a team's own step definitions and hooks, as in any suite of godog's. It is called once when stepwatch
// starts, to list them, and then anew for every run of a scenario, of which there may be several at once: what a scenario
// keeps between its steps is made in there, or carried by the context.
type Glue = func(*godog.ScenarioContext)

// Own is a team's own steps.
type Own struct {
	glue        []Glue
	definitions []steps.Definition
}

// Load lists what the glue registers. The error names every definition that godog could not call.
func Load(glue ...Glue) (own *Own, err error) {
	own = &Own{glue: glue}
	if len(glue) == 0 {
		return own, nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("register own steps: %v", v)
		}
	}()
	registerNullFormat()
	godog.TestSuite{
		Options: &godog.Options{Format: nullFormat, Output: io.Discard, NoColors: true, ShowStepDefinitions: true}, // which runs nothing
		ScenarioInitializer: func(sc *godog.ScenarioContext) {
			var all []*registered
			if all, err = own.register(sc); err != nil {
				return
			}
			var mistakes []error
			for i, r := range all {
				mistakes = append(mistakes, r.unsupported())
				own.definitions = append(own.definitions, r.definition(i))
			}
			err = errors.Join(mistakes...)
		},
	}.Run()
	return own, err
}

// Definitions are the own steps as a library takes them. They run only where the Runner has the same Own.
func (o *Own) Definitions() []steps.Definition {
	if o == nil {
		return nil
	}
	return o.definitions
}

// register has the glue register everything, and takes the definitions over.
func (o *Own) register(sc *godog.ScenarioContext) ([]*registered, error) {
	for _, g := range o.glue {
		g(sc)
	}
	return readRegistered(sc)
}

// registered is one definition as it was registered.
type registered struct {
	expr    string
	keyword formatters.Keyword
	handler reflect.Value // the function
	file    string
	line    int
	run     func(ctx context.Context, args []any) (context.Context, any) // what it gives: nothing, an error or godog.Steps
}

// registeredShape is what godog's type of a definition must have.
var registeredShape = map[string]reflect.Type{
	"Expr": reflect.TypeFor[*regexp.Regexp](), "Keyword": reflect.TypeFor[formatters.Keyword](), "Args": reflect.TypeFor[[]any](),
	"HandlerValue": reflect.TypeFor[reflect.Value](), "File": reflect.TypeFor[string](), "Line": reflect.TypeFor[int](),
}

// nothing matches no text.
var nothing = regexp.MustCompile(`[^\s\S]`)

// readRegistered takes over the definitions that sc holds.
func readRegistered(sc *godog.ScenarioContext) ([]*registered, error) {
	unknown := func(what string) error {
		return fmt.Errorf("read own steps: this godog is not like v0.16.0 (%s): require that version", what)
	}
	suite := reflect.ValueOf(sc).Elem().FieldByName("suite")
	if suite.Kind() != reflect.Pointer || suite.Elem().Kind() != reflect.Struct {
		return nil, unknown("ScenarioContext.suite")
	}
	list := suite.Elem().FieldByName("steps")
	if list.Kind() != reflect.Slice || list.Type().Elem().Kind() != reflect.Pointer {
		return nil, unknown("suite.steps")
	}
	kind := list.Type().Elem().Elem()
	for name, want := range registeredShape {
		if field, found := kind.FieldByName(name); !found || field.Type != want {
			return nil, unknown(kind.String() + "." + name)
		}
	}
	all := make([]*registered, list.Len())
	for i := range all {
		held := reflect.NewAt(kind, list.Index(i).UnsafePointer()).Elem()
		own := reflect.New(kind)
		own.Elem().Set(held)
		run, callable := own.MethodByName("Run").Interface().(func(context.Context) (context.Context, any))
		if !callable {
			return nil, unknown(kind.String() + ".Run")
		}
		arguments := own.Elem().FieldByName("Args")
		field := func(name string) any { return held.FieldByName(name).Interface() }
		all[i] = &registered{expr: field("Expr").(*regexp.Regexp).String(), keyword: field("Keyword").(formatters.Keyword),
			handler: field("HandlerValue").(reflect.Value), file: field("File").(string), line: field("Line").(int),
			run: func(ctx context.Context, args []any) (context.Context, any) {
				arguments.Set(reflect.ValueOf(args))
				return run(ctx)
			}}
		held.FieldByName("Expr").Set(reflect.ValueOf(nothing))
	}
	return all, nil
}

// definition makes a Definition of the one that the glue registers as number index.
func (r *registered) definition(index int) steps.Definition {
	d := steps.Definition{
		Area: "own steps", Sentence: r.sentence(), Pattern: r.expr, Check: r.check, File: path.Join(path.Base(path.Dir(r.file)), path.Base(r.file)), Line: r.line,
		Func: func(_ context.Context, w *steps.World, a steps.Args) error {
			return steps.State[ownRun](w).call(w, index, a) //nolint:contextcheck // it has the one that hooks and steps hand on
		},
	}
	params := r.params()
	d.Kinds = make([]string, regexp.MustCompile(r.expr).NumSubexp())
	for i := range d.Kinds {
		if d.Kinds[i] = "text"; i < len(params) {
			d.Kinds[i] = word(params[i])
		}
	}
	d.Does = "Calls a function without a name."
	if name := path.Base(runtime.FuncForPC(r.handler.Pointer()).Name()); !closure.MatchString(name) {
		d.Does = fmt.Sprintf("Calls %s.", strings.TrimSuffix(name, "-fm"))
	}
	for _, beneath := range params[min(len(d.Kinds), len(params)):] {
		switch {
		case word(beneath) == "table" && d.Table == "":
			d.Table = steps.Required
			d.Does += " A table stands beneath it."
		case word(beneath) != "table" && d.DocString == "":
			d.DocString = steps.Required
			d.Does += " A doc string stands beneath it."
		}
	}
	if r.keyword != formatters.None {
		t := keywords[r.keyword]
		d.Type = string(t.of)
		d.Does += fmt.Sprintf(" Only a step with %s means it, or one with And or But after such a one.", t.word)
	}
	return d
}

// closure is the name of a function that has none.
var closure = regexp.MustCompile(`\.func\d+(\.\d+)*$`)

// keywords are what a definition may be bound to.
var keywords = map[formatters.Keyword]struct {
	word string
	of   messages.PickleStepType
}{
	formatters.Given: {"Given", messages.PickleStepType_CONTEXT},
	formatters.When:  {"When", messages.PickleStepType_ACTION},
	formatters.Then:  {"Then", messages.PickleStepType_OUTCOME},
}

var (
	typeContext   = reflect.TypeFor[context.Context]()
	typeBytes     = reflect.TypeFor[[]byte]()
	typeDocString = reflect.TypeFor[*godog.DocString]()
	typeTable     = reflect.TypeFor[*godog.Table]()
)

// params are what the function takes, a leading context left out.
func (r *registered) params() []reflect.Type {
	params := slices.Collect(r.handler.Type().Ins())
	if len(params) > 0 && params[0].Implements(typeContext) {
		return params[1:]
	}
	return params
}

// word names a parameter's type as the catalogue does; it is empty for what godog cannot fill.
func word(t reflect.Type) string {
	switch {
	case t == typeDocString:
		return "doc string"
	case t == typeTable:
		return "table"
	case t == typeBytes:
		return "text"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "int"
	case reflect.Float32, reflect.Float64:
		return "number"
	default:
		return ""
	}
}

// unsupported says which of the function's parameters godog cannot fill.
func (r *registered) unsupported() error {
	for i, t := range r.params() {
		if word(t) == "" || t.PkgPath() != "" {
			return fmt.Errorf("%s:%d: the step %q takes a %s as argument %d: godog gives string, []byte, whole and floating-point numbers, *godog.DocString and *godog.Table", r.file, r.line, r.expr, t, i+1)
		}
	}
	return nil
}

// sentence writes the pattern as the catalogue does, with {text} for what stands in quotes, {word}, {words}, {int} and {number}
// for the other groups, where it is plain enough.
func (r *registered) sentence() string {
	re, err := syntax.Parse(r.expr, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || re.Sub[0].Op != syntax.OpBeginText || re.Sub[len(re.Sub)-1].Op != syntax.OpEndText {
		return r.expr
	}
	parts := re.Sub[1 : len(re.Sub)-1]
	params := r.params()
	var b strings.Builder
	groups, quoted := 0, false
	for i, part := range parts {
		switch {
		case part.Op == syntax.OpLiteral && part.Flags&syntax.FoldCase == 0:
			text := string(part.Rune)
			if quoted {
				text = text[1:]
			}
			if quoted = strings.HasSuffix(text, `"`) && i+2 < len(parts) && parts[i+2].Op == syntax.OpLiteral && parts[i+2].Rune[0] == '"'; quoted {
				text = strings.TrimSuffix(text, `"`)
			}
			b.WriteString(text)
		case part.Op == syntax.OpCapture && part.Sub[0].MaxCap() == 0:
			kind := "text"
			if groups < len(params) {
				kind = word(params[groups])
			}
			takes := regexp.MustCompile("^(?:" + part.Sub[0].String() + ")$").MatchString
			switch groups++; {
			case kind != "text":
			case !quoted && takes("two words"):
				kind = "words"
			case !quoted && takes("word"):
				kind = "word"
			case !quoted && takes("1") && takes("22"):
				kind = "int"
			case !takes("word"): // certain texts only
				return r.expr
			}
			b.WriteString("{" + kind + "}")
		default:
			return r.expr
		}
	}
	return b.String()
}

// arguments are a step's, as godog's code takes them. Of a table and a doc string beneath one step, which godog alone would hand on
// as one argument, the function may take both, in the order of its parameters.
func (r *registered) arguments(a steps.Args) []any {
	args := make([]any, 0, len(a.Captured)+2)
	for _, text := range a.Captured {
		args = append(args, text)
	}
	var beneath []any
	if a.DocString != nil {
		beneath = append(beneath, &godog.DocString{MediaType: a.DocString.MediaType, Content: a.DocString.Content})
	}
	if a.Table != nil {
		table := &godog.Table{}
		for _, cells := range a.Table {
			row := &messages.PickleTableRow{}
			for _, cell := range cells {
				row.Cells = append(row.Cells, &messages.PickleTableCell{Value: cell})
			}
			table.Rows = append(table.Rows, row)
		}
		beneath = append(beneath, table)
	}
	if params := r.params(); len(beneath) == 2 && len(params) > len(args) && word(params[len(args)]) == "table" {
		slices.Reverse(beneath)
	}
	return append(args, beneath...)
}

// check says why a step's arguments cannot be the function's.
func (r *registered) check(a steps.Args) error {
	fault := func(format string, args ...any) error {
		return steps.Fail(result.ReasonScenario, result.BlameScenario, "%s (%s:%d)", fmt.Sprintf(format, args...), path.Base(r.file), r.line)
	}
	params, args := r.params(), r.arguments(a)
	if len(params) > len(args) {
		return fault("the step gives %d arguments, and its function takes %d", len(args), len(params))
	}
	if beneath := given(args[max(0, len(args)-1):]...); beneath != "text" && len(params) < len(args) {
		return fault("a %s stands beneath the step, and its function takes none", beneath)
	}
	for i, t := range params {
		if got := given(args[i]); (word(t) == "table") != (got == "table") || word(t) == "doc string" && got != "doc string" {
			return fault("argument %d is a %s, and the step's function takes a %s", i+1, got, word(t))
		}
		text, isText := args[i].(string)
		if doc, isDoc := args[i].(*godog.DocString); isDoc {
			text, isText = doc.Content, true
		}
		var err error
		switch kind := t.Kind(); {
		case !isText:
		case kind >= reflect.Int && kind <= reflect.Int64:
			_, err = strconv.ParseInt(text, 10, t.Bits())
		case kind >= reflect.Uint && kind <= reflect.Uint64:
			_, err = strconv.ParseUint(text, 10, t.Bits())
		case kind == reflect.Float32 || kind == reflect.Float64:
			_, err = strconv.ParseFloat(text, t.Bits())
		}
		if err != nil {
			return fault("%q is no %s that the step's function takes: %v", text, t, errors.Unwrap(err))
		}
	}
	return nil
}

// given names an argument as word names a parameter.
func given(args ...any) string {
	if len(args) == 0 {
		return "text"
	}
	switch args[0].(type) {
	case *godog.DocString:
		return "doc string"
	case *godog.Table:
		return "table"
	default:
		return "text"
	}
}

// ownRun is the own steps of one run.
type ownRun struct {
	registered []*registered
	library    *steps.Library
	ctx        context.Context // what the hooks and steps so far have made of the run's
}

// call calls the definition that was registered as number index, and keeps the context that it returns. The error is a Failure.
func (o *ownRun) call(w *steps.World, index int, a steps.Args) error {
	if index >= len(o.registered) {
		return steps.Fail(result.ReasonScenario, result.BlameScenario, "the own step is not registered in this run: the code that registers it must do so each time")
	}
	r := o.registered[index]
	if err := r.check(a); err != nil {
		return err
	}
	outcome, err := o.invoke(r, r.arguments(a))
	if err == nil {
		switch outcome := outcome.(type) {
		case nil:
		case error:
			err = outcome
		case godog.Steps:
			return o.nested(w, outcome)
		}
	}
	if err == nil || err == o.ctx.Err() { //nolint:errorlint // the runner words a bare one; one that wraps it says more
		return err
	}
	if text := err.Error(); strings.Contains(strings.TrimSpace(text), "\n") {
		w.Attach("error", "text/plain; charset=utf-8", []byte(text))
	}
	return ownFailure(o.ctx, err)
}

// invoke has godog call the function. What the function says to godog.T, which tells nobody outside godog, is an error.
func (o *ownRun) invoke(r *registered, args []any) (outcome any, err error) {
	ctx := o.ctx // what the function returns may have lost godog's part of it
	t, logged := godog.T(ctx), len(godog.LoggedMessages(ctx))
	failing := said(t, "failed")
	defer func() {
		if v := recover(); v != nil && fmt.Sprint(v) != stopNow {
			panic(v) //nolint:gocritic // its stack is whole: nothing of it has returned yet
		}
		log := strings.Join(godog.LoggedMessages(ctx)[logged:], "\n")
		switch {
		case said(t, "skipped") && log == "":
			err = godog.ErrSkip
		case said(t, "skipped"):
			err = fmt.Errorf("%w: %s", godog.ErrSkip, log)
		case said(t, "failed") && !failing:
			err = errors.New(cmp.Or(log, "an assertion failed"))
		}
	}()
	o.ctx, outcome = r.run(ctx, args)
	return outcome, nil
}

// stopNow is what godog panics with for FailNow and SkipNow of godog.T.
const stopNow = "FailNow or SkipNow called"

// said reports whether godog.T was told that something "failed" or is to be "skipped", in this step or before.
func said(t godog.TestingT, what string) bool {
	told := reflect.ValueOf(t)
	if told.Kind() != reflect.Pointer || told.Elem().Kind() != reflect.Struct {
		return false // no T in this context
	}
	flag := told.Elem().FieldByName(what)
	return flag.Kind() == reflect.Bool && flag.Bool()
}

// nested does the steps that a function has returned instead of a verdict.
func (o *ownRun) nested(w *steps.World, texts godog.Steps) error {
	for _, text := range texts {
		b, err := o.library.Bind(features.Step{Text: text})
		if err != nil {
			return steps.Fail(result.ReasonScenario, result.BlameScenario, "%w", err)
		}
		switch d := b.Definition; {
		case d.Func == nil:
			return steps.Fail(result.ReasonScenario, result.BlameScenario, "%q cannot stand in godog.Steps, as it stands for others: write it into the scenario", text)
		case d.Prepare != nil && !d.Late:
			return steps.Fail(result.ReasonScenario, result.BlameScenario, "%q cannot stand in godog.Steps, as it begins before the scenario's first step: write it into the scenario", text)
		case d.Prepare != nil:
			d.Prepare(o.ctx, w, b.Args)
		}
		if err := b.Definition.Func(o.ctx, w, b.Args); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// ownFailure is the Failure that a team's code means by an error, with the status that godog gives to it.
func ownFailure(ctx context.Context, err error) error {
	status := ownStatus(err)
	if status == result.Failed {
		return steps.AsFailure(ctx, err)
	}
	act := "%w"
	if err == godog.ErrSkip { //nolint:errorlint // one that wraps it says more
		act = "%w by its own code, with all that follows"
	}
	return &verdict{steps.Fail(result.ReasonScenario, result.BlameScenario, act, err), status}
}

// verdict is a Failure whose step has another status than failed.
type verdict struct {
	error
	status result.Status
}

// Status is what the step is to be called.
func (v *verdict) Status() result.Status { return v.status }

func (v *verdict) Unwrap() error { return v.error }

// ownStatus is the status that godog gives to a step with such an error.
func ownStatus(err error) result.Status {
	switch {
	case errors.Is(err, godog.ErrAmbiguous):
		return result.Ambiguous
	case errors.Is(err, godog.ErrPending):
		return result.Pending
	case errors.Is(err, godog.ErrSkip):
		return result.Skipped
	case errors.Is(err, godog.ErrUndefined):
		return result.Undefined
	default:
		return result.Failed
	}
}

// panickedBefore reports whether err is what godog makes of a panic in a hook before a step, and where that was.
func panickedBefore(err error) (stack []byte, is bool) {
	if err == nil || reflect.TypeOf(err).String() != "*godog.traceError" {
		return nil, false
	}
	return fmt.Appendf(nil, "%+v", err), true
}

// attachments are the files that steps and hooks have attached to the step at work.
func attachments(ctx context.Context) []godog.Attachment { return godog.Attachments(ctx) }
