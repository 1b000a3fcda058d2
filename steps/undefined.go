package steps

import (
	"strings"
	"sync"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/quoted"
	"github.com/stepwatch/stepwatch/steps/suggest"
)

// suggester remembers what was said of undefined steps. It belongs to one library.
type suggester struct {
	finder suggest.Finder
	once   sync.Once

	mu         sync.Mutex
	remembered map[suggested]*UndefinedError
}

// suggested identifies a step that was asked for.
type suggested struct{ text, stepType string }

// rememberedSteps is the most steps that a suggester remembers.
const rememberedSteps = 4096

// nearest returns up to three sentences that mean nearly the same as a text, the best first.
func (l *Library) nearest(text string) []string {
	l.near.once.Do(func() { l.near.finder.Sentences = l.outlines })
	quotes := strings.Count(quoted.Read(text, nil, false).Marked, `"`) / 2
	return l.near.finder.Nearest(vague.ReplaceAllString(text, " {} "), quotes)
}

// outlines returns the sentences of the library. A team's own definitions have only patterns.
func (l *Library) outlines() []suggest.Sentence {
	var all []suggest.Sentence
	for _, d := range l.definitions {
		if d.raw {
			continue
		}
		s := suggest.Sentence{Text: d.Sentence, Area: d.Area, Outline: d.outline()}
		if strings.HasPrefix(d.Sentence, "the {stream} ") { // the subject is a word: not any other, such as URL, may stand there
			s.Outline = "the stream" + strings.TrimPrefix(s.Outline, "the {}")
		}
		for _, k := range d.derive().params {
			switch {
			case k != nil && k.Bare:
				s.Bare++
			case k != nil && k.Quote != "":
				s.Quoted++
			}
		}
		all = append(all, s)
	}
	return all
}

// undefined returns the error of a step that no sentence matches. It is the same for the same step.
func (l *Library) undefined(step features.Step) *UndefinedError {
	key := suggested{step.Text, step.Type}
	l.near.mu.Lock()
	known := l.near.remembered[key]
	l.near.mu.Unlock()
	if known == nil {
		known = &UndefinedError{Write: l.almost(step.Text, step.Type)}
		if known.Write == "" {
			known.Nearest = l.nearest(step.Text)
			if known.Swallowing, known.Beyond = l.swallowing(step.Text); known.Swallowing == "" && !l.compat {
				known.Begins, known.Beyond = l.beginning(step.Text)
			}
		}
		l.near.mu.Lock()
		if l.near.remembered == nil || len(l.near.remembered) >= rememberedSteps {
			l.near.remembered = make(map[suggested]*UndefinedError)
		}
		l.near.remembered[key] = known
		l.near.mu.Unlock()
	}
	e := *known
	e.Step = step
	return &e
}

// swallowing returns the sentence that would match if a text could extend over its closing quote, and what is after that
// quote.
func (l *Library) swallowing(text string) (sentence, beyond string) {
	if l.compat || strings.Count(text, `"`)+strings.Count(text, `'`) < 3 {
		return "", ""
	}
	r := quoted.Reading{Written: text, Marked: text, Compat: true}
	for _, d := range l.definitions {
		if d.raw || d.derive().compat == nil {
			continue
		}
		at := d.match(r)
		for i := 2; i < len(at); i += 2 {
			if at[i] < 0 {
				continue
			}
			value := quoted.Read(text, nil, false).Marked[at[i]:at[i+1]]
			if quote := strings.IndexByte(value, '"'); quote >= 0 {
				rest, tail := text[at[i]+quote+1:], strings.TrimPrefix(text[at[i+1]:], `"`)
				if after, found := strings.CutPrefix(rest, tail); found && tail != "" {
					return d.Sentence, after
				}
				return d.Sentence, strings.TrimSuffix(rest, tail)
			}
		}
	}
	return "", ""
}

// beginning returns the sentence that a step begins with, the longest of several, and what follows it.
func (l *Library) beginning(text string) (sentence, beyond string) {
	beyond = text // the shorter, the longer the sentence
	r := quoted.Read(text, nil, false)
	for _, d := range l.definitions {
		for _, p := range d.derive().patterns {
			if d.raw || !strings.HasPrefix(r.Marked, p.Opening) {
				continue
			}
			if at := p.Beginning().FindStringIndex(r.Marked); at != nil && len(text)-at[1] < len(beyond) && at[1] < len(text) {
				sentence, beyond = d.Sentence, text[at[1]:]
			}
		}
	}
	if sentence == "" {
		return "", ""
	}
	return sentence, beyond
}
