package web_test

import (
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

// TestInvalidFormsAreNotSent presses the button of forms that a browser does not send, and of such that look like them.
func TestInvalidFormsAreNotSent(t *testing.T) {
	pages, cases := map[string]string{}, []sentenceCase{}
	add := func(name, attributes, fields, do, why string) {
		path := "/" + strings.ReplaceAll(name, " ", "-")
		pages[path] = "<form action=/echo " + attributes + ">" + fields + "</form>"
		want := ""
		if why != "" {
			want = `protocol web: press "Send" on http://www.example.test` + path + " (200 OK): a browser does not send the form: the field " + why
		}
		text := at(path) + do + "I press \"Send\"\n"
		if why == "" {
			text += "I should be on /echo"
		}
		cases = append(cases, sentenceCase{name, text, want})
	}
	const send = "<button>Send</button>"
	const required = " is required, and nothing is entered or chosen"
	fill := func(text string) string { return `I fill in "Field" with "` + text + "\"\n" }
	field := func(attributes string) string { return "<label>Field <input name=a " + attributes + "></label>" + send }

	add("required", "", field("required"), "", `"Field"`+required)
	add("required blank", "", field("required value=' '"), "", "")
	add("required number", "", field("required type=number value=x"), "", `"Field"`+required)
	add("required area", "", "<label>Field <textarea name=a required></textarea></label>"+send, "", `"Field"`+required)
	add("required box", "", field("required type=checkbox"), "", `"Field"`+required)
	add("required file", "", field("required type=file"), "", `"Field"`+required)
	add("required radio", "", "<label>One <input type=radio name=a></label><label>Two <input type=radio name=a required></label>"+send, "", `"One"`+required)
	add("chosen radio", "", "<label>One <input type=radio name=a checked></label><label>Two <input type=radio name=a required></label>"+send, "", "")
	add("placeholder", "", "<label>Field <select name=a required><option value=''>Choose<option>Two</select></label>"+send, "", `"Field"`+required)
	add("disabled placeholder", "", "<label>Field <select name=a required><option value='' disabled selected>Choose<option>Two</select></label>"+send, "", `"Field"`+required)
	add("empty second option", "", "<label>Field <select name=a required><option>Two<option value='' selected>None</select></label>"+send, "", "")
	add("empty list", "", "<label>Field <select name=a required multiple><option>Two</select></label>"+send, "", `"Field"`+required)
	add("first of a group", "", "<label>Field <select name=a required><optgroup label=x><option value=''>None</optgroup></select></label>"+send, "", "")
	add("readonly", "", field("required readonly"), "", "")
	add("disabled", "", field("required disabled"), "", "")
	add("disabled set", "", "<fieldset disabled>"+field("required")[:len(field("required"))-len(send)]+"</fieldset>"+send, "", "")
	add("out of sight", "", "<div style='display:none'><label>Field <input name=a required></label></div>"+send, "", `"Field"`+required)
	add("novalidate", "novalidate", field("required"), "", "")
	add("formnovalidate", "", "<input name=a required><button formnovalidate>Send</button>", "", "")
	add("button of another form", "", "<input name=a></form><form id=b><input required name=b></form><form>"+send, "", "")
	cases = cases[:len(cases)-1]
	add("email", "", field("type=email"), fill("anna.example.org"), `"Field" does not fit its rule type=email`)
	add("valid email", "", field("type=email"), fill("a+b@example"), "")
	add("several emails", "", field("type=email multiple"), fill("a@example.org, b@example.org"), "")
	add("email of two", "", field("type=email"), fill("a@example.org, b@example.org"), `"Field" does not fit its rule type=email`)
	add("international email", "", field("type=email"), fill("a@müller.example"), "")
	add("url", "", field("type=url"), fill("www.example.org"), `"Field" does not fit its rule type=url`)
	add("valid url", "", field("type=url"), fill("x:y"), "")
	add("pattern", "", field("pattern=[0-9]{5}"), fill("123456"), `"Field" does not fit its rule pattern="[0-9]{5}"`)
	add("empty pattern", "", field("pattern=[0-9]{5}"), "", "")
	add("alternatives", "", field("pattern='a|b'"), fill("ab"), `"Field" does not fit its rule pattern="a|b"`)
	add("password", "", field(`pattern='(?=.*\d)(?=.*[a-z]).{8,}'`), fill("abcdefgh"), `"Field" does not fit its rule pattern="(?=.*\\d)(?=.*[a-z]).{8,}"`)
	add("valid password", "", field(`pattern='(?=.*\d)(?=.*[a-z])(?!.*x).{8,}'`), fill("abcdefg7"), "")
	add("minlength", "", field("minlength=5"), fill("abc"), `"Field" does not fit its rule minlength="5"`)
	add("minlength of the page", "", field("minlength=5 value=abc"), "", "")
	add("number below", "", field("type=number min=3"), fill("2"), `"Field" does not fit its rule min="3"`)
	add("number above", "", field("type=number max=3"), fill("4"), `"Field" does not fit its rule max="3"`)
	add("price", "", field("type=number"), fill("3.20"), `"Field" does not fit its rule type=number, whose step is 1`)
	add("step", "", field("type=number step=0.05"), fill("3.22"), `"Field" does not fit its rule step="0.05"`)
	add("valid step", "", field("type=number step=0.01"), fill("1.15"), "")
	add("any step", "", field("type=number step=any"), fill("3.21"), "")
	add("step from the value", "", field("type=number value=0.5"), fill("3.5"), "")
	add("day before", "", field("type=date min=2026-11-30"), fill("2026-11-29"), `"Field" does not fit its rule min="2026-11-30"`)
	add("day after", "", field("type=date max=2026-11-30"), fill("2026-12-01"), `"Field" does not fit its rule max="2026-11-30"`)
	add("night", "", field("type=time min=22:00 max=06:00"), fill("23:00"), "")
	add("day", "", field("type=time min=22:00 max=06:00"), fill("12:00"), `"Field" does not fit its rule min="22:00" and max="06:00"`)
	s := newPages(t, pages)
	s.runBoth(t, cases, nil)
}

// TestPagesThatValidateThemselves has pages that show their own hints instead of the browser's.
func TestPagesThatValidateThemselves(t *testing.T) {
	const form = `<form action=/echo><label>Field <input name=a required></label><button>Send</button></form><p id=p></p><script>
		const hint = () => { document.querySelector("#p").textContent = "Please fill in the field"; }, button = document.querySelector("button"), form = document.querySelector("form");`
	s := newPages(t, map[string]string{
		"/handler": form + `document.querySelector("input").addEventListener("invalid", (e) => { e.preventDefault(); hint(); });</script>`,
		"/click":   form + `button.onclick = (e) => { if (!form.checkValidity()) { e.preventDefault(); hint(); } };</script>`,
		"/submit":  form + `form.noValidate = true; form.onsubmit = (e) => { if (!form.checkValidity()) { e.preventDefault(); hint(); } };</script>`,
		"/own":     form + `document.querySelector("input").setCustomValidity("Not this one");</script>`,
		"/sent":    form + `document.querySelector("input").checkValidity(); button.onclick = () => { document.querySelector("input").value = "x"; };</script>`,
		"/frame":   `<iframe srcdoc="<form action=/echo><label>Field <input name=a required></label><button>Send</button></form>"></iframe>`,
	})
	const send, hint = "I press \"Send\"\n", "I should see \"Please fill in the field\""
	s.runInBrowser(t, []sentenceCase{
		{"hints of its own", at("/handler") + send + hint, ""},
		{"before the click", at("/click") + send + hint, ""},
		{"at the submission", at("/submit") + send + hint, ""},
		{"a rule of its own", at("/own") + "I fill in \"Field\" with \"x\"\n" + send, `protocol web: press "Send" on http://www.example.test/own (200 OK): a browser does not send the form: the field "Field" does not fit its rule Not this one`},
		{"mended by the click", at("/sent") + send + "I should be on /echo", ""},
		{"in a frame", at("/frame") + send, `protocol web: press "Send" on http://www.example.test/frame (200 OK): a browser does not send the form: the field "Field" is required, and nothing is entered or chosen`},
		{"submitted", at("/own") + "I submit the form named \"form\"", `protocol web: submit the form named "form" on http://www.example.test/own (200 OK): a browser does not send the form: the field "Field" is required, and nothing is entered or chosen`},
	}, nil, browser.Options{})
}

// TestInvalidFormsOverHTTP sends a form as the old steps did, and notes a pattern that was not applied elsewhere.
func TestInvalidFormsOverHTTP(t *testing.T) {
	s := newPages(t, map[string]string{
		"/":        "<form action=/echo><input name=a required><button>Send</button></form>",
		"/pattern": `<form action=/echo><input name=a value=aa pattern="(.)\1"><button>Send</button></form>`,
	})
	o := s.run(t, at("/pattern")+"I press \"Send\"\nI should be on /echo")
	if err := o.Err(); err != nil {
		t.Error(err)
	}
	if got := o.Steps[1].Report.Note; got != `not checked: the pattern of the field "a", which only a browser can apply` {
		t.Errorf("the note is %q", got)
	}
	setWeb(s.target, func(web *httpwire.Web) { web.CucumberNagios = true })
	if err := s.run(t, at("/")+"I press \"Send\"\nI should be on /echo").Err(); err != nil {
		t.Error(err)
	}
}
