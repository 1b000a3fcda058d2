package browser

import (
	"context"
	"errors"
	"fmt"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
)

// Refused reports why an action on an existing element was not possible. The page may allow it later.
type Refused struct{ Why string }

func (r *Refused) Error() string { return r.Why }

// outcome is the result that page.js returns for an action.
type outcome struct {
	Gone     bool    `json:"gone"`
	Empty    bool    `json:"empty"`
	Obstacle *string `json:"obstacle"`
	Direct   bool    `json:"direct"`
	Checked  bool    `json:"checked"`
	Value    string  `json:"value"`
	X        float64 `json:"x"`
	Y        float64 `json:"y"`
}

func (o *outcome) refusal() error {
	switch {
	case o.Gone:
		return &Refused{"it is no longer on the page"}
	case o.Empty:
		return &Refused{"it has no size on the page"}
	case o.Obstacle != nil && *o.Obstacle != "":
		return &Refused{"a click on it would hit " + *o.Obstacle + " instead, which covers it"}
	case o.Obstacle != nil:
		return &Refused{"it cannot be scrolled into view"}
	}
	return nil
}

// tell calls a function of page.js for one element.
func (t *Tab) tell(ctx context.Context, e Element, function string, args ...any) (*outcome, error) {
	o := &outcome{}
	t.touched = e.frame
	err := t.evaluate(ctx, e.frame, o, function, append([]any{e.number}, args...)...)
	if errors.Is(err, errReplaced) {
		return nil, &Refused{"the page was replaced by another one"}
	}
	if err != nil {
		return nil, err
	}
	return o, o.refusal()
}

// Click moves the mouse to the middle of an element and presses its button, once the element no longer moves and
// nothing covers it. Otherwise it returns a *Refused.
func (t *Tab) Click(ctx context.Context, e Element) error {
	at, err := t.tell(ctx, e, "point")
	if err != nil {
		return err
	}
	x, y := at.X, at.Y
	if e.frame != t.main {
		if x, y, err = t.place(ctx, e); err != nil {
			return err
		}
	}
	for _, event := range []input.DispatchMouseEventParams{
		{Type: input.DispatchMouseEventTypeMouseMoved, X: x, Y: y},
		{Type: input.DispatchMouseEventTypeMousePressed, X: x, Y: y, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1},
		{Type: input.DispatchMouseEventTypeMouseReleased, X: x, Y: y, Button: input.MouseButtonLeft, ClickCount: 1},
	} {
		if _, err := command(ctx, t, input.DispatchMouseEvent, event); err != nil {
			return err
		}
	}
	return nil
}

// place returns the middle of an element of a frame, in the coordinates of the tab.
func (t *Tab) place(ctx context.Context, e Element) (x, y float64, err error) {
	object, err := t.object(ctx, e)
	if err != nil {
		return 0, 0, err
	}
	defer t.forget(ctx, object)
	if _, err := command(ctx, t, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{ObjectID: object}); err != nil {
		return 0, 0, err
	}
	quads, err := command(ctx, t, dom.GetContentQuads, dom.GetContentQuadsParams{ObjectID: object})
	if err != nil {
		return 0, 0, err
	}
	for _, q := range quads.Quads {
		if len(q) == 8 {
			return (q[0] + q[2] + q[4] + q[6]) / 4, (q[1] + q[3] + q[5] + q[7]) / 4, nil
		}
	}
	return 0, 0, &Refused{"it has no size on the page"}
}

// object returns the browser's handle of an element.
func (t *Tab) object(ctx context.Context, e Element) (runtime.RemoteObjectID, error) {
	return t.handle(ctx, e.frame, fmt.Sprintf("stepwatch.element(%d)", e.number))
}

// handle returns the browser's handle of the result of an expression in a frame. The caller must release it.
func (t *Tab) handle(ctx context.Context, id cdp.FrameID, expression string) (runtime.RemoteObjectID, error) {
	got, err := t.run(ctx, id, expression, false)
	if err != nil {
		return "", err
	}
	if got.ObjectID == "" {
		return "", &Refused{"it is no longer on the page"}
	}
	return got.ObjectID, nil
}

func (t *Tab) forget(ctx context.Context, object runtime.RemoteObjectID) {
	_, _ = command(ctx, t, runtime.ReleaseObject, runtime.ReleaseObjectParams{ObjectID: object}) // the end of the document releases it otherwise
}

// Fill types a text into a field, in place of its value. It returns the value of the field after that, which may be
// another text, and a *Refused when the field stays empty, as a date field does for a text that is not a date.
func (t *Tab) Fill(ctx context.Context, e Element, text string) (value string, err error) {
	o, err := t.tell(ctx, e, "focus")
	if err != nil {
		return "", err
	}
	if o.Direct {
		if o, err = t.tell(ctx, e, "set", text); err != nil {
			return "", err
		}
	} else {
		if text == "" {
			for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
				if _, err := command(ctx, t, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: "Delete", Code: "Delete", WindowsVirtualKeyCode: 46}); err != nil {
					return "", err
				}
			}
		} else if _, err := command(ctx, t, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
			return "", err
		}
		if o, err = t.tell(ctx, e, "leave"); err != nil {
			return "", err
		}
	}
	if o.Value == "" && text != "" {
		return "", &Refused{"the field does not accept the text"}
	}
	return o.Value, nil
}

// SelectOption selects an option of a list.
func (t *Tab) SelectOption(ctx context.Context, option Element) error {
	_, err := t.tell(ctx, option, "select")
	return err
}

// Checked reports whether a checkbox or radio button is checked.
func (t *Tab) Checked(ctx context.Context, e Element) (bool, error) {
	o, err := t.tell(ctx, e, "state")
	if err != nil {
		return false, err
	}
	return o.Checked, nil
}

// Submit submits a form like its own button, including the validation of its fields.
func (t *Tab) Submit(ctx context.Context, form Element) error {
	_, err := t.tell(ctx, form, "submit")
	return err
}

// Unsent is a control that kept the browser from sending a form.
type Unsent struct {
	Element Element
	Name    string // its tag and id, for a control that the last snapshot does not have
	Rule    string // as the page writes it, or in the words of the page
}

// Unsent returns the control because of which the last action on an element, which is a form or a button, did not send
// a form. It is nil when the form was sent or the page decided otherwise itself.
func (t *Tab) Unsent(ctx context.Context, e Element) (*Unsent, error) {
	var u *struct {
		Number int    `json:"number"`
		Name   string `json:"name"`
		Rule   string `json:"rule"`
	}
	if err := t.evaluate(ctx, e.frame, &u, "unsent", e.number); err != nil || u == nil {
		if errors.Is(err, errReplaced) {
			err = nil // by what the action led to
		}
		return nil, err
	}
	return &Unsent{Element{e.frame, u.Number}, u.Name, u.Rule}, nil
}

// Attach sets the files of a file field.
func (t *Tab) Attach(ctx context.Context, e Element, paths ...string) error {
	object, err := t.object(ctx, e)
	if err != nil {
		return err
	}
	defer t.forget(ctx, object)
	_, err = command(ctx, t, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: paths, ObjectID: object})
	return err
}
