package web_test

import (
	"strings"
	"testing"
)

const pageDialogs = `<!doctype html><html><body><p id="out">quiet</p><button type="button" onclick="alert('Mind\u00a0the gap'); say('alerted')">Alert</button>
<button type="button" onclick="say(confirm('Really?') ? 'yes' : 'no')">Confirm</button><button type="button" onclick="say(prompt('What?', 'Milk'))">Prompt</button>
<a href="/echo?window" target="_blank">New window</a> <button type="button" onclick="window.open('/child')">Open</button>
<a href="/missing" target="_blank">Broken window</a> <a href="/alerting" target="_blank">Alerting window</a>
<button type="button" onclick="const w = window.open(''); w.document.write('<p>Written by its opener</p>')">Blank</button>
<form action="/echo" target="_blank"><input name="word" value="tea"><button>Send away</button></form>
<script>function say(text) { document.getElementById('out').textContent = text }</script></body></html>`

const pageChild = `<!doctype html><html><body><h1>Child</h1><button type="button" onclick="opener.say('told by the child'); window.close()">Close</button>
<button type="button" onclick="opener.say(confirm('Sure?') ? 'child sure' : 'child unsure')">Ask</button>
<button type="button" onclick="setTimeout(() => window.close(), 60)">Close later</button><a href="/grandchild" target="_blank">Further</a></body></html>`

func TestWebDialogs(t *testing.T) {
	s := newPages(t, map[string]string{"/dialogs": pageDialogs, "/child": pageChild, "/alerting": `<script>alert('At once')</script><p>Shown after</p>`,
		"/grandchild": `<p>Grandchild</p><button type="button" onclick="window.close()">Close too</button>`,
		"/leaving":    `<a href="/child">Leave</a><script>addEventListener('beforeunload', (e) => e.preventDefault())</script>`})
	page := at("/dialogs")
	const on = " on http://www.example.test/dialogs (200 OK): "
	const refused = "scenario scenario: a page opens dialogs only with a script; that needs a browser: tag the scenario @browser"
	button := func(name string) string {
		return `scenario scenario: click "` + name + `"` + on + `a button of type=button does not submit a form; that needs a browser: tag the scenario @browser`
	}
	cases := []sentenceCase{
		{"alert", page + "I click \"Alert\"\nI should see \"alerted\"\nthe dialog said \"Mind the gap\"", button("Alert")},
		{"no dialog said", page + `the dialog said "Mind"`, refused},
		{"another dialog", page + "I click \"Alert\"\nthe dialog said \"Mind the step\"", button("Alert")},
		{"dialog without a text", page + `the dialog said " "`, `scenario scenario: expect the dialog to say " ": the text is empty`},
		{"no dialog", page + "there was no dialog", refused},
		{"a dialog", page + "I click \"Alert\"\nthere was no dialog", button("Alert")},
		{"accept", page + "I accept the next dialog\nI click \"Confirm\"\nI should see \"yes\"", refused},
		{"dismiss", page + "I dismiss the next dialog\nI click \"Confirm\"\nI should see \"no\"", refused},
		{"accept once", page + "I accept the next dialog\nI click \"Confirm\"\nI should see \"yes\"\nI click \"Confirm\"\nI should see \"no\"", refused},
		{"unanswered", page + "I click \"Confirm\"\nI should see \"yes\"", button("Confirm")},
		{"unexpected alert", page + "I click \"Alert\"\nI should see \"Nothing\"", button("Alert")},
		{"accept a text", page + "I accept the next dialog\nI click \"Prompt\"\nI should see \"Milk\"", refused},
		{"answer", page + "I answer the next dialog with \"Tea\"\nI click \"Prompt\"\nI should see \"Tea\"", refused},
		{"leave", at("/leaving") + "I follow \"Leave\"\nI should see \"Child\"", ""},

		{"window of a link", page + "I follow \"New window\"\nI should be on /echo?window\nI should see \"GET /echo?window\"", ""},
		{"window of a form", page + "I press \"Send away\"\nI should be on /echo?word=tea", ""},
		{"window that is not there", page + `I follow "Broken window"`, "http_status web: GET http://www.example.test/missing: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/missing\"` accepts any status)"},
		{"window with a dialog", page + "I follow \"Alerting window\"\nI should see \"Shown after\"", ""},
		{"window of a script", page + "I click \"Open\"\nI should be on /child\nI click \"Close\"\nI should see \"told by the child\" within 5s\nI should be on /dialogs", button("Open")},
		{"window that closes later", page + "I click \"Open\"\nI click \"Close later\"\nI should see \"quiet\" within 5s\nI should be on /dialogs", button("Open")},
		{"dialog of a window", page + "I accept the next dialog\nI click \"Open\"\nI click \"Ask\"\nthe dialog said \"Sure?\"\nI click \"Close\"\nI should be on /dialogs", refused},
		{"windows of windows", page + "I click \"Open\"\nI follow \"Further\"\nI should see \"Grandchild\"\nI click \"Close too\"\nI should see \"Child\" within 5s\nI click \"Close\"\nI should see \"told by the child\" within 5s", button("Open")},
		{"blank window", page + "I click \"Blank\"\nI should see \"Written by its opener\"", button("Blank")},
		{"text in a window", page + "I click \"Open\"\nI should see \"Nothing\"", button("Open")},
	}
	inBrowser := map[string]string{
		"no dialog said":   `unexpected web: expect the dialog to say "Mind"` + on + `no page opened one`,
		"another dialog":   `unexpected web: expect the dialog to say "Mind the step"` + on + `the alert said "Mind the gap"`,
		"a dialog":         `unexpected web: expect no dialog` + strings.TrimSuffix(on, ": ") + `: the alert said "Mind the gap"`,
		"unanswered":       `unexpected web: see "yes"` + on + `only the page's source contains it, it is not visible; the page opened the confirm "Really?", which was dismissed because no step answers it (` + "`I accept the next dialog`)",
		"unexpected alert": `unexpected web: see "Nothing"` + on + `the page does not show it; it begins with "alerted Alert ConfirmPrompt New window Open Broken window Al…"; the page opened the alert "Mind the gap"`,
		"text in a window": `unexpected web: see "Nothing" on http://www.example.test/child (200 OK): the page does not show it; it begins with "Child Close Ask Close laterFurther"`,
	}
	for _, c := range cases {
		if _, differs := inBrowser[c.name]; !differs && strings.HasPrefix(c.want, "scenario") && c.name != "dialog without a text" {
			inBrowser[c.name] = ""
		}
	}
	s.runBoth(t, cases, inBrowser)
}
