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
	"github.com/stepwatch/stepwatch/steps/regex"
)

// Hooks of a team's own code stay with godog. This package takes over the definitions, so that only the library decides what
// a step means and the runner times only the call. It makes the registered definitions match nothing and calls copies of them
// through godog's code, which converts the arguments. godog has no public API for this, so readRegistered checks the name and
// type of every field that it uses.

// Glue registers a team's own step definitions and hooks, as in any godog suite. It is called once when stepwatch starts, to
// list them, and then for every run of a scenario. Runs may be concurrent, so the state of a scenario must be created in the
// Glue or carried by the context.
type Glue = func(*godog.ScenarioContext)

// Own is a team's own steps.
type Own struct {
	glue        []Glue
	definitions []steps.Definition
}

// Load lists the definitions of the glue. The error names every definition that godog cannot call.
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
		Options: &godog.Options{Format: nullFormat, Output: io.Discard, NoColors: true, ShowStepDefinitions: true}, // this runs nothing
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

// Definitions returns the own steps for a library. They run only in a Runner with the same Own.
func (o *Own) Definitions() []steps.Definition {
	if o == nil {
		return nil
	}
	return o.definitions
}

// register calls the glue and takes over the definitions.
func (o *Own) register(sc *godog.ScenarioContext) ([]*registered, error) {
	for _, g := range o.glue {
		g(sc)
	}
	return readRegistered(sc)
}

// registered is one registered definition.
type registered struct {
	expr    string
	keyword formatters.Keyword
	handler reflect.Value // the function
	file    string
	line    int
	run     func(ctx context.Context, args []any) (context.Context, any) // returns nothing, an error or godog.Steps
}

// registeredShape has the fields that godog's type of a definition must have.
var registeredShape = map[string]reflect.Type{
	"Expr": reflect.TypeFor[*regexp.Regexp](), "Keyword": reflect.TypeFor[formatters.Keyword](), "Args": reflect.TypeFor[[]any](),
	"HandlerValue": reflect.TypeFor[reflect.Value](), "File": reflect.TypeFor[string](), "Line": reflect.TypeFor[int](),
}

// nothing matches no text.
var nothing = regex.Lazy(`[^\s\S]`)

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
		held.FieldByName("Expr").Set(reflect.ValueOf(nothing.Compiled()))
	}
	return all, nil
}

// definition returns the Definition of the function that the glue registers at index.
func (r *registered) definition(index int) steps.Definition {
	d := steps.Definition{
		Area: "own steps", Sentence: r.sentence(), Pattern: r.expr, Check: r.check, File: path.Join(path.Base(path.Dir(r.file)), path.Base(r.file)), Line: r.line,
		Func: func(_ context.Context, w *steps.World, a steps.Args) error {
			return steps.State[ownRun](w).call(w, index, a) //nolint:contextcheck // it uses the context of the hooks and steps
		},
	}
	params := r.params()
	d.Kinds = make([]string, regexp.MustCompile(r.expr).NumSubexp())
	for i := range d.Kinds {
		if d.Kinds[i] = "text"; i < len(params) {
			d.Kinds[i] = word(params[i])
		}
	}
	d.Does = "Runs an anonymous Go function."
	if name := path.Base(runtime.FuncForPC(r.handler.Pointer()).Name()); !closure.MatchString(name) {
		d.Does = fmt.Sprintf("Runs the Go function %s.", strings.TrimSuffix(name, "-fm"))
	}
	for _, beneath := range params[min(len(d.Kinds), len(params)):] {
		switch {
		case word(beneath) == "table" && d.Table == "":
			d.Table = steps.Required
			d.Does += " It needs a table below it."
		case word(beneath) != "table" && d.DocString == "":
			d.DocString = steps.Required
			d.Does += " It needs a doc string below it."
		}
	}
	if r.keyword != formatters.None {
		t := keywords[r.keyword]
		d.Type = string(t.of)
		d.Does += fmt.Sprintf(" Only a step with %s matches it, or a step with And or But after it.", t.word)
	}
	return d
}

// closure matches the generated name of an anonymous function.
var closure = regex.Lazy(`\.func\d+(\.\d+)*$`)

// keywords has the keywords that a definition may be bound to.
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

// params returns the parameters of the function, without a leading context.
func (r *registered) params() []reflect.Type {
	params := slices.Collect(r.handler.Type().Ins())
	if len(params) > 0 && params[0].Implements(typeContext) {
		return params[1:]
	}
	return params
}

// word returns the catalogue's name of a parameter's type, or "" if godog does not support the type.
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

// unsupported returns an error for the first parameter whose type godog does not support.
func (r *registered) unsupported() error {
	for i, t := range r.params() {
		if word(t) == "" || t.PkgPath() != "" {
			return fmt.Errorf("%s:%d: the step %q takes a %s as argument %d: godog supports string, []byte, whole and floating-point numbers, *godog.DocString and *godog.Table", r.file, r.line, r.expr, t, i+1)
		}
	}
	return nil
}

// sentence returns the pattern as a sentence of the catalogue, with {text} for text in quotes, {word}, {words}, {int} and
// {number} for other groups. It returns the pattern itself if that is too complex.
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
			case !takes("word"): // only certain texts
				return r.expr
			}
			b.WriteString("{" + kind + "}")
		default:
			return r.expr
		}
	}
	return b.String()
}

// arguments returns the arguments of a step in godog's types. A function may take both a table and a doc string, in the
// order of its parameters; godog itself passes only one of them.
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

// check returns why the function cannot take the arguments of a step, or nil.
func (r *registered) check(a steps.Args) error {
	fault := func(format string, args ...any) error {
		return steps.Fail(result.ReasonScenario, result.BlameScenario, "%s (%s:%d)", fmt.Sprintf(format, args...), path.Base(r.file), r.line)
	}
	params, args := r.params(), r.arguments(a)
	if len(params) > len(args) {
		return fault("the step has %d arguments, but its function takes %d", len(args), len(params))
	}
	if beneath := given(args[max(0, len(args)-1):]...); beneath != "text" && len(params) < len(args) {
		return fault("the step has a %s below it, but its function takes none", beneath)
	}
	for i, t := range params {
		if got := given(args[i]); (word(t) == "table") != (got == "table") || word(t) == "doc string" && got != "doc string" {
			return fault("argument %d is a %s, but the function of the step takes a %s", i+1, got, word(t))
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
			return fault("%q is not a valid %s for the function of the step: %v", text, t, errors.Unwrap(err))
		}
	}
	return nil
}

// given returns the name of an argument's type, like word.
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

// ownRun has the own steps of one run.
type ownRun struct {
	registered []*registered
	library    *steps.Library
	ctx        context.Context // the context of the run as changed by hooks and steps
}

// call calls the definition registered at index, and keeps the context that it returns. The error is a Failure.
func (o *ownRun) call(w *steps.World, index int, a steps.Args) error {
	if index >= len(o.registered) {
		return steps.Fail(result.ReasonScenario, result.BlameScenario, "the own step is not registered in this run: its code must register it each time")
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
	if err == nil || err == o.ctx.Err() { //nolint:errorlint // the runner formats a bare context error; a wrapped one has more information
		return err
	}
	if text := err.Error(); strings.Contains(strings.TrimSpace(text), "\n") {
		w.Attach("error", "text/plain; charset=utf-8", []byte(text))
	}
	return ownFailure(o.ctx, err)
}

// invoke calls the function through godog. Failures that the function reports to godog.T, which godog does not expose, become
// an error.
func (o *ownRun) invoke(r *registered, args []any) (outcome any, err error) {
	ctx := o.ctx // the returned context may lack godog's values
	t, logged := godog.T(ctx), len(godog.LoggedMessages(ctx))
	failing := said(t, "failed")
	defer func() {
		if v := recover(); v != nil && fmt.Sprint(v) != stopNow {
			panic(v) //nolint:gocritic // the stack is complete: no frame has returned yet
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

// stopNow is the panic value of godog for FailNow and SkipNow of godog.T.
const stopNow = "FailNow or SkipNow called"

// said reports whether godog.T is marked as "failed" or "skipped", in this step or before.
func said(t godog.TestingT, what string) bool {
	told := reflect.ValueOf(t)
	if told.Kind() != reflect.Pointer || told.Elem().Kind() != reflect.Struct {
		return false // no T in this context
	}
	flag := told.Elem().FieldByName(what)
	return flag.Kind() == reflect.Bool && flag.Bool()
}

// nested runs the steps that a function has returned instead of a verdict.
func (o *ownRun) nested(w *steps.World, texts godog.Steps) error {
	for _, text := range texts {
		b, err := o.library.Bind(features.Step{Text: text})
		if err != nil {
			return steps.Fail(result.ReasonScenario, result.BlameScenario, "%w", err)
		}
		switch d := b.Definition; {
		case d.Func == nil:
			return steps.Fail(result.ReasonScenario, result.BlameScenario, "%q cannot be in godog.Steps because it is made of other sentences: write it into the scenario", text)
		case d.Prepare != nil && !d.Late:
			return steps.Fail(result.ReasonScenario, result.BlameScenario, "%q cannot be in godog.Steps because it begins before the first step of the scenario: write it into the scenario", text)
		case d.Prepare != nil:
			d.Prepare(o.ctx, w, b.Args)
		}
		if err := b.Definition.Func(o.ctx, w, b.Args); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// ownFailure returns the Failure for an error of a team's code, with the status that godog gives to it.
func ownFailure(ctx context.Context, err error) error {
	status := ownStatus(err)
	if status == result.Failed {
		return steps.AsFailure(ctx, err)
	}
	act := "%w"
	if err == godog.ErrSkip { //nolint:errorlint // a wrapped one has more information
		act = "%w by its own code, with all following steps"
	}
	return &verdict{steps.Fail(result.ReasonScenario, result.BlameScenario, act, err), status}
}

// verdict is a Failure of a step with another status than failed.
type verdict struct {
	error
	status result.Status
}

// Status returns the status of the step.
func (v *verdict) Status() result.Status { return v.status }

func (v *verdict) Unwrap() error { return v.error }

// ownStatus returns the status that godog gives to a step with this error.
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

// panickedBefore reports whether err is godog's error for a panic in a hook before a step, and returns its stack.
func panickedBefore(err error) (stack []byte, is bool) {
	if err == nil || reflect.TypeOf(err).String() != "*godog.traceError" {
		return nil, false
	}
	return fmt.Appendf(nil, "%+v", err), true
}

// attachments returns the files that steps and hooks have attached to the current step.
func attachments(ctx context.Context) []godog.Attachment { return godog.Attachments(ctx) }
