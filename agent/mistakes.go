package agent

import (
	"errors"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// unrunnable returns the result of a plan with mistakes: it reports each at its step, and nothing runs.
func unrunnable(res *result.Result, p *Plan) *result.Result {
	res.Steps = skipped(p, 0)
	for i := len(p.Problems) - 1; i >= 0; i-- { // backwards, so that the first problem decides
		problem := p.Problems[i]
		status := result.Pending
		var undefined *steps.UndefinedError
		var ambiguous *steps.AmbiguousError
		switch {
		case errors.As(problem.Err, &undefined):
			status = result.Undefined
		case errors.As(problem.Err, &ambiguous):
			status = result.Ambiguous
		}
		if problem.Step >= 0 {
			s := &res.Steps[problem.Step]
			s.Status, s.Reason, s.Blame, s.Error = status, result.ReasonScenario, result.BlameScenario, problem.Err.Error()
		}
		res.Status, res.Error = status, problem.Err.Error()
	}
	res.Reason, res.Blame = result.ReasonScenario, result.BlameScenario
	return res
}

// beginning returns the plan up to its first mistake. It is empty if that mistake belongs to no step.
func (p *Plan) beginning() *Plan {
	first := len(p.bound)
	for _, problem := range p.Problems {
		first = min(first, max(0, problem.Step))
	}
	part := *p
	part.bound, part.Problems = p.bound[:first], nil
	return &part
}

// withMistakes completes the result of the beginning of a plan: the rest did not run, and its mistakes are reported. A step
// that failed before them decides the status.
func withMistakes(res *result.Result, p *Plan) *result.Result {
	whole := unrunnable(&result.Result{}, p)
	res.Steps = append(res.Steps, whole.Steps[len(res.Steps):]...)
	if res.Status == result.Passed {
		res.Status, res.Reason, res.Blame, res.Error = whole.Status, whole.Reason, whole.Blame, whole.Error
	}
	return res
}
