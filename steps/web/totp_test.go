package web_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/totp"
)

func TestCodeSentence(t *testing.T) {
	const secret = "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&period=4"
	key, err := totp.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", answering("text/html", "<form action=/check method=post><label>Code <input name=code></label><button>Go</button></form>"))
	mux.HandleFunc("/check", func(w http.ResponseWriter, r *http.Request) {
		right := false
		for earlier := range 3 { // a browser on a busy machine takes its time
			code, _ := key.Code(time.Now().Add(-time.Duration(earlier) * key.Period()))
			right = right || r.FormValue("code") == code
		}
		_, _ = fmt.Fprintf(w, "<p>right: %t</p>", right)
	})
	s, _ := newAnswerSite(t, mux)
	s.secrets = stepstest.Secrets{"totp": secret, "hotp": "otpauth://hotp/x?secret=GEZDGNBVGY3TQOJQ"}
	const at = "I go to \"http://www.answer.test/\"\n"
	s.runOnBoth(t, []sentenceCase{
		{"code", at + "I fill in \"Code\" with the code of the secret \"totp\"\nI press \"Go\"\nI should see \"right: true\"", ""},
		{"no field", at + `I fill in "PIN" with the code of the secret "totp"`, `not_found web: fill in "PIN" on http://www.answer.test/ (200 OK): there is no such text field; the page has "Code"`},
		{"another kind of code", at + `I fill in "Code" with the code of the secret "hotp"`, `config scenario: the secret "hotp" is not a key for two-factor codes: it is not an otpauth://totp/ address`},
		{"no secret", at + `I fill in "Code" with the code of the secret "none"`, `config scenario: no secret "none": add it under secrets in stepwatch.yml`},
	}, nil, browser.Options{})
}
