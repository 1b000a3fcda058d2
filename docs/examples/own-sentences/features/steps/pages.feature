Feature: Pages

  @step
  Scenario: I should see site navigation
    Then there should be at least 1 element "nav.site-navigation a"

  @step
  Scenario: the status should show "<status>"
    Works on any page with a region named Status. A heading, a label or an id may name it.
    Then within "Status" I should see "<status>"
