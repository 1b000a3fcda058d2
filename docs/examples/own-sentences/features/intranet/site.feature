Feature: The intranet

  Scenario: The front page
    When I go to "http://intranet.example.org/"
    Then I should see site navigation

  Scenario: The status page
    When I go to "http://intranet.example.org/status"
    Then the status should show "OK"
