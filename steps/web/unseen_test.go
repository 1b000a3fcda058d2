package web_test

import (
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/browser"
)

// TestTextOutOfSightIsNotSeen has text with a box that no visitor sees, and text that looks like it.
func TestTextOutOfSightIsNotSeen(t *testing.T) {
	pages := map[string]string{}
	var both, inBrowser []sentenceCase
	unseen := func(cases *[]sentenceCase, name, page string) {
		pages["/"+name] = "<!doctype html><title>T</title><p>Before</p>" + page
		*cases = append(*cases,
			sentenceCase{name + " seen", at("/"+name) + `I should see "Secret words"`, `unexpected web: see "Secret words" on http://www.example.test/` + name + ` (200 OK): only the page's source contains it, it is not visible`},
			sentenceCase{name + " not seen", at("/"+name) + `I should not see "Secret words"`, ""})
	}
	seen := func(cases *[]sentenceCase, name, page string) {
		pages["/"+name] = "<!doctype html><title>T</title><p>Before</p>" + page
		*cases = append(*cases, sentenceCase{name + " seen", at("/"+name) + `I should see "Secret words"`, ""})
	}
	const text = ">Secret words</div>"
	unseen(&both, "opacity", "<div style='opacity:0'"+text)
	unseen(&both, "around", "<div style='opacity: 0.0'><b>x</b><div"+text+"</div>")
	unseen(&both, "clip", "<div style='position:absolute;clip:rect(0,0,0,0)'"+text)
	unseen(&both, "clip-one", "<div style='position:absolute;clip:rect(1px, 1px, 1px, 1px)'"+text)
	unseen(&both, "inset", "<div style='clip-path:inset(50%)'"+text)
	unseen(&both, "font", "<div style='font-size:0'"+text)
	unseen(&both, "left", "<div style='position:absolute;left:-9999px'"+text)
	unseen(&both, "left-em", "<div style='position:fixed;left:-999em'"+text)
	unseen(&both, "indent", "<div style='text-indent:-9999px'"+text)
	unseen(&both, "defs", "<svg><defs><text>Secret words</text></defs></svg>")
	unseen(&both, "symbol", "<svg><symbol id=a><text>Secret words</text></symbol></svg>")
	unseen(&both, "title", "<svg><title>Secret words</title></svg>")
	unseen(&both, "until-found", "<div hidden=until-found"+text)
	unseen(&inBrowser, "content-visibility", "<div style='content-visibility:hidden'"+text)
	unseen(&inBrowser, "sheet", "<style>div{opacity:0}</style><div"+text)
	unseen(&inBrowser, "sr-only", "<style>.s{position:absolute;width:1px;height:1px;overflow:hidden;clip:rect(0,0,0,0)}</style><div class=s"+text)
	unseen(&inBrowser, "no-height", "<style>div{height:0;overflow:hidden}</style><div"+text)
	unseen(&inBrowser, "scale", "<div style='transform:scale(0)'"+text)
	unseen(&inBrowser, "filter", "<div style='filter:opacity(0)'"+text)
	seen(&inBrowser, "no-height-around", "<style>main{height:0;overflow:hidden}</style><main><div style='position:absolute'"+text+"</main>")
	seen(&inBrowser, "overflowing", "<div style='height:0'"+text)
	seen(&inBrowser, "growing", "<style>@keyframes g{from{transform:scale(0)}}</style><div style='animation:g 500ms'"+text)
	unseen(&inBrowser, "capitals", "<style>div{opacity:0;text-transform:capitalize}</style><div"+text)
	unseen(&inBrowser, "shadow", "<div style='opacity:0'><div id=h></div></div><script>h.attachShadow({mode:'open'}).innerHTML='Secret words'</script>")
	seen(&both, "faint", "<div style='opacity:0.01'"+text)
	seen(&both, "small-font", "<div style='font-size:0'><span style='font-size:12px'>Secret words</span></div>")
	seen(&both, "static", "<div style='clip:rect(0,0,0,0)'"+text)
	seen(&both, "relative", "<div style='position:relative;left:-3px'"+text)
	seen(&both, "twice", "<div style='opacity:0'"+text+"<p>Secret words</p>")
	seen(&both, "drawn", "<svg><text y=20>Secret words</text></svg>")
	seen(&both, "fade", "<style>@keyframes f{from{opacity:0}to{opacity:1}}</style><div style='opacity:0;animation:f 300ms 300ms forwards'"+text)
	seen(&both, "script", "<div id=d style='opacity:0'"+text+"<script>d.style.opacity=1</script>")
	seen(&both, "below", "<div style='height:3000px'></div><div id=d style='opacity:0'"+text+"<script>new IntersectionObserver((e) => { if (e[0].isIntersecting) d.style.opacity = 1 }).observe(d)</script>")
	seen(&inBrowser, "upper", "<style>p{text-transform:uppercase}i{opacity:0}</style><p>Secret words</p><i>secret</i>")
	both = append(both,
		sentenceCase{"upper case", at("/opacity") + `I should not see "SECRET WORDS"`, ""},
		sentenceCase{"region", at("/opacity") + `within "body" I should not see "Secret words"`, ""},
	)
	pages["/controls"] = `<form action=/echo><label>Agree <input type=checkbox name=a style="opacity:0"></label><label style="font-size:0">Photo <input type=file name=f></label>` +
		`<button><span style="position:absolute;clip:rect(0,0,0,0)">Send it</span>→</button></form><h2 style="opacity:0">Heading</h2>`
	both = append(both,
		sentenceCase{"a box drawn by the page", at("/controls") + "I check \"Agree\"\nthe field \"Agree\" should be checked\nI press \"Send it\"\nI should be on /echo", ""},
		sentenceCase{"a button with a name for hearing", at("/controls") + "I should see the button \"Send it\"", ""},
		sentenceCase{"heading", at("/controls") + "I should see the heading \"Heading\"", `unexpected web: see the heading "Heading" on http://www.example.test/controls (200 OK): the heading "Heading" is hidden`},
		sentenceCase{"no heading", at("/controls") + "I should not see the heading \"Heading\"", ""},
	)
	s := newPages(t, pages)
	s.patience = 2 * time.Second
	s.runBoth(t, both, nil)
	s.runInBrowser(t, inBrowser, nil, browser.Options{})
}

// TestDrawingsBesideTextAreNoted judges pages whose text is not all that they show.
func TestDrawingsBesideTextAreNoted(t *testing.T) {
	s := newPages(t, map[string]string{
		"/":       `<!doctype html><title>T</title><p>Score</p><canvas width=100 height=50></canvas>`,
		"/hidden": `<!doctype html><title>T</title><p>Score</p><canvas style="display:none"></canvas>`,
	})
	s.patience = 2 * time.Second
	s.runInBrowser(t, nil, nil, browser.Options{})
	for path, want := range map[string]string{"/": "judged without the drawing (<canvas>) on the page, which cannot be read", "/hidden": ""} {
		for _, sentence := range []string{`I should not see "Game over"`, `I should not see the heading "Game over"`} {
			o := s.run(t, at(path)+sentence)
			if err := o.Err(); err != nil {
				t.Error(err)
			} else if got := o.Steps[1].Report.Note; got != want {
				t.Errorf("%s: %s: the note is %q, want %q", path, sentence, got, want)
			}
		}
	}
}
