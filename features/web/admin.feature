# Is the way in to the administration closed to strangers? It must lead to HTTPS, where a password can be typed, and must not
# take the password that the software came with: scanners try that within hours.
#
# Replace address, labels and texts by those of your site. The rows are defaults that stand in public lists; add those of what
# you run. A site that locks an account after wrong logins wants names that do not exist there.
@every:15m
Feature: Administration

  Scenario: Plain HTTP leads to HTTPS
    When I go to "http://www.example.org/admin"
    Then I should be on "https://www.example.org/admin"
    And I should have been redirected from "http://www.example.org/admin" with 301

  Scenario Outline: Default credentials are refused: <user>
    Given I go to "https://www.example.org/admin"
    And I fill in "User name" with "<user>"
    And I fill in "Password" with "<password>"
    When I press "Log in"
    Then I should see "Wrong name or password"

    Examples:
      | user  | password |
      | admin | admin    |
      | admin | password |
      | root  | root     |
