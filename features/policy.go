package features

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	messages "github.com/cucumber/messages/go/v34"
)

// policyTags has the tag names with a meaning in Policy.
var policyTags = []string{"every", "timeout", "retries", "warn", "crit", "browser", "manual", "severity", "owner", "location", "base", "parallel", "alert", "needs", "flapping"}

// apply applies one tag to the policy. The fault is a sentence if the tag has the name of a policy and is invalid, and empty
// otherwise.
func (p *Policy) apply(tag string) (fault string) {
	name, value := cutTag(tag)
	name = strings.TrimSuffix(name, ":")
	duration := func(into *time.Duration, example string) string {
		if value == "" {
			return fmt.Sprintf("@%s needs a duration, as in @%s:%s", name, name, example)
		}
		d, fault := parseDuration(value)
		if fault != "" {
			return fmt.Sprintf("%s: %s, as in @%s:%s", tag, fault, name, example)
		}
		*into = d
		return ""
	}
	word := func(into *string, example string) string {
		if value == "" {
			return fmt.Sprintf("@%s needs a value, as in @%s:%s", name, name, example)
		}
		*into = value
		return ""
	}
	flag := func(into *bool) string {
		if value != "" || strings.HasSuffix(tag, ":") {
			return fmt.Sprintf("@%s takes no value: write it alone instead of %q", name, tag)
		}
		*into = true
		return ""
	}
	switch name {
	case "every":
		return duration(&p.Every, "1m")
	case "timeout":
		return duration(&p.Timeout, "90s")
	case "warn":
		return duration(&p.Warn, "5s")
	case "crit":
		return duration(&p.Crit, "20s")
	case "retries":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Sprintf("%s: @retries needs a whole number from 0, as in @retries:2", tag)
		}
		p.Retries = n
	case "parallel":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Sprintf("%s: @parallel needs a whole number from 1, as in @parallel:8", tag)
		}
		p.Parallel = n
	case "alert":
		some, of, fault := parseSome(value)
		if fault != "" {
			return fmt.Sprintf("%s: %s, as in @alert:3of5", tag, fault)
		}
		p.Some, p.Of = some, of
	case "needs":
		if unquoted(value) == "" {
			return "@needs needs the name of a scenario with _ for each blank, as in @needs:Log_in_over_IMAP"
		}
		p.Needs = strings.TrimPrefix(p.Needs+" "+value, " ")
	case "flapping":
		if value != "on" && value != "off" {
			return fmt.Sprintf("%s: @flapping is on or off, as in @flapping:off", tag)
		}
		p.Flapping = value
	case "browser":
		return flag(&p.Browser)
	case "manual":
		return flag(&p.Manual)
	case "severity":
		return word(&p.Severity, "page")
	case "owner":
		return word(&p.Owner, "web")
	case "location":
		return word(&p.Location, "eu")
	case "base":
		if u, err := url.Parse(value); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return fmt.Sprintf("%s: @base needs the address of a site without a login, as in @base:https://www.example.org/", HidePassword(tag))
		}
		p.Base = value
	case definitionTag:
		return flag(new(bool))
	}
	return ""
}

// AlertWindow is the greatest number of runs that @alert looks at.
const AlertWindow = 21

// parseSome parses "3of5". The fault is part of a sentence.
func parseSome(text string) (some, of int, fault string) {
	first, second, found := strings.Cut(text, "of")
	some, err := strconv.Atoi(first)
	of, err2 := strconv.Atoi(second)
	switch {
	case !found || err != nil || err2 != nil:
		return 0, 0, "@alert needs two whole numbers, how many of the last runs must not be OK"
	case some < 1 || some > of:
		return 0, 0, fmt.Sprintf("%d of %d runs is not possible", some, of)
	case of > AlertWindow:
		return 0, 0, fmt.Sprintf("at most the last %d runs are looked at", AlertWindow)
	}
	return some, of, ""
}

// parseDuration parses the duration of a tag: the format of time.ParseDuration with optional whole days before it, because
// tags have schedules: "90s", "1m30s", "250ms", "1d", "1d12h". It must be more than zero. The fault is part of a sentence.
func parseDuration(text string) (d time.Duration, fault string) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 32)
	switch {
	case err != nil:
	case strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-"):
		err = strconv.ErrSyntax
	case rest != "":
		d, err = time.ParseDuration(rest)
	}
	const longest = 36500 // days, which fits a time.Duration
	switch {
	case strings.HasPrefix(text, "-"):
		return 0, fmt.Sprintf("%q is less than zero", text)
	case err != nil && strings.Trim(text, "0123456789.") == "":
		return 0, fmt.Sprintf("%q has no unit: write ms, s, m, h or d after the number", text)
	case err != nil:
		return 0, fmt.Sprintf("%q is not a duration", text)
	case n > longest || d > longest*24*time.Hour:
		return 0, fmt.Sprintf("%q is more than a hundred years", text)
	case n == 0 && d == 0:
		return 0, "the duration must be more than zero"
	}
	return time.Duration(n)*24*time.Hour + d, ""
}

// policy returns the combined policy of the tags that a scenario inherits. It checks that the durations fit each other.
func (c *compiler) policy(s *messages.Scenario, inherited []*messages.Tag) Policy {
	p := Policy{Retries: -1}
	last := map[string]*messages.Tag{}
	for _, t := range inherited {
		p.apply(t.Name) // checkTags has reported invalid tags
		name, _ := cutTag(t.Name)
		last[name] = t
	}
	// The later tag was probably added to a valid file.
	later := func(a, b string) *messages.Location {
		if at, bt := last[a].Location, last[b].Location; at.Line > bt.Line || at.Line == bt.Line && at.Column > bt.Column {
			return at
		}
		return last[b].Location
	}
	if p.Warn > 0 && p.Crit > 0 && p.Warn > p.Crit {
		c.refuse(s, RuleTag, later("warn", "crit"), "%s is more than %s: the warning must come before the critical state", last["warn"].Name, last["crit"].Name)
	}
	return p
}

// almostPolicy finds the name of a policy followed by a value without a colon, as in "@every=1m".
func almostPolicy(tag string) (policy, value string, found bool) {
	for _, policy := range policyTags {
		rest, begins := strings.CutPrefix(tag, policy)
		if value := strings.Trim(rest, "=-_(/)."); begins && rest != "" && value != "" && value != rest && policy != "browser" && policy != "manual" {
			return policy, value, true
		}
	}
	return "", "", false
}

// checkTags reports the invalid tags of one part of the file, and warns of tags that resemble a policy tag. s is the
// scenario that has them, or nil. Any other tag, with a value or without, belongs to the author.
func (c *compiler) checkTags(written []*messages.Tag, s *messages.Scenario) {
	seen := map[string]string{}
	for _, t := range written {
		var scratch Policy
		if fault := scratch.apply(t.Name); fault != "" {
			c.refuse(s, RuleTag, t.Location, "%s", fault)
			continue
		}
		name, value := cutTag(t.Name)
		known := scratch != Policy{} || name == "retries" || name == definitionTag
		closest, slips := nearest(name, policyTags)
		policy, setting, almost := almostPolicy(name)
		switch {
		case known:
			if other, twice := seen[name]; twice && name != "needs" {
				c.warn(RuleTag, t.Location, "%s follows %s: the last one counts", t.Name, other)
			}
			seen[name] = t.Name
		case value != "" && slips <= max(1, len(closest)/3):
			c.warn(RuleTag, t.Location, "%s is not a policy tag: did you mean @%s:%s?", t.Name, closest, value)
		case value != "":
		case almost:
			c.warn(RuleTag, t.Location, "%s is a plain tag: to set the policy write @%s:%s", t.Name, policy, setting)
		case name == definitionTag+"s", sameLetters(name, definitionTag):
			c.warn(RuleTag, t.Location, "%s is a plain tag: did you mean @%s?", t.Name, definitionTag)
		case slips > 0 && slips <= 2 && (closest == "browser" || closest == "manual"), slips == 0:
			c.warn(RuleTag, t.Location, "%s is a plain tag: did you mean @%s?", t.Name, closest)
		}
	}
}
