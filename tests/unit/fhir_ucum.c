/* Units against facts: definitions of the SI brochure, NIST Special Publication 811 (inch, pound,
 * psi, degree Fahrenheit), the UCUM specification (mole as a number, month and year as mean Julian
 * ones, the examples of valid and invalid codes) and the units that public clinical libraries and
 * data use. */
#include "fhir/ucum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static og_decimal dec(const char *text)
{
    og_decimal d;
    int scale;
    if (!og_decimal_parse(og_str_of(text), false, &d, &scale))
        fail_msg("no decimal: %s", text);
    return d;
}

static void valid_and_invalid(void **state)
{
    (void)state;
    static const char *const valid[] = {"1",
                                        "m",
                                        "cm2",
                                        "cm+2",
                                        "kg/m2",
                                        "kg.m-2",
                                        "mg/dL",
                                        "mm[Hg]",
                                        "%",
                                        "/min",
                                        "mg/mL",
                                        "mg/d",
                                        "{MME}/d",
                                        "ng/mL",
                                        "[pH]",
                                        "mL/min/{1.73_m2}",
                                        "mL/min/1.73.m2",
                                        "10*9/L",
                                        "10^9/L",
                                        "10*-6.L",
                                        "10*",
                                        "[iU]",
                                        "[IU]/L",
                                        "k[IU]/L",
                                        "m[iU]/mL",
                                        "[arb'U]/mL",
                                        "{score}",
                                        "{score}/{x}",
                                        "/100{WBC}",
                                        "ug{creat}/L",
                                        "umol/L",
                                        "Cel",
                                        "mCel",
                                        "[degF]",
                                        "[in_i'H2O]",
                                        "dB",
                                        "B[10.nV]",
                                        "[m/s2/Hz^(1/2)]",
                                        "(kg.m)/s2",
                                        "kg/(m.s2)",
                                        "a",
                                        "mo",
                                        "wk",
                                        "d",
                                        "h",
                                        "min",
                                        "s",
                                        "ms",
                                        "''",
                                        "'",
                                        "[lb_av]",
                                        "cd",
                                        "dam",
                                        "Kibit",
                                        "m[H2O]",
                                        "8.h{shift}",
                                        "Pa",
                                        "g%",
                                        "U/L",
                                        "ukat/L",
                                        "nmol/mol",
                                        "mol/kg",
                                        "pg/mL",
                                        "fL",
                                        "/[HPF]",
                                        "[CFU]/mL"};
    static const char *const invalid[] = {
        "",
        " ",
        "mg dL",
        "mg/dl ",
        "years",
        "day",
        "days",
        "kkg",
        "M[in_i]",
        "mmHg",
        "IU",
        "mcg",
        "µg/L",
        "x",
        "m/",
        "/",
        "//m",
        "m..s",
        ".m",
        "m.",
        "(m",
        "m)",
        "()",
        "(m)2",
        "(/m)",
        "m--2",
        "m-",
        "m+",
        "m2-",
        "{",
        "}",
        "{a",
        "m{a}{b}",
        "m{a b}",
        "{a}2",
        "[iU",
        "iU]",
        "[]",
        "0",
        "0.m",
        "-1",
        "m 2",
        "99999999999999999999999",
        "m99999",
        "[[iU]]",
        "mg\"",
        "m=1",
        "kPa ",
        "((((((((((((((((((((((((((((((((((((((((((m))))))))))))))))))))))))))))))))))))))))))"};
    for (size_t i = 0; i < COUNT(valid); i++)
        if (!ucum_valid(og_str_of(valid[i])))
            fail_msg("should be valid: %s", valid[i]);
    for (size_t i = 0; i < COUNT(invalid); i++)
        if (ucum_valid(og_str_of(invalid[i])))
            fail_msg("should not be valid: %s", invalid[i]);
    assert_false(ucum_valid((og_str){"m\0g", 3}));
    assert_false(ucum_valid((og_str){NULL, 0}));
    char many[600];
    memset(many, 'm', sizeof(many));
    assert_false(ucum_valid((og_str){many, sizeof(many)}));
    for (size_t i = 1; i < sizeof(many); i += 2)
        many[i] = '.';
    assert_true(ucum_valid((og_str){many, 255}));
    assert_false(ucum_valid((og_str){many, 257}));
}

static void comparable(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool expected;
    } rows[] = {{"mg/dL", "g/L", true},
                {"mg/dL", "mmol/L", false},
                {"mmol/L", "mol/m3", true},
                {"mL/min/{1.73_m2}", "mL/min", true},
                {"mL/min/1.73.m2", "mL/min", false},
                {"[iU]", "[IU]", true},
                {"k[IU]/L", "[iU]/mL", true},
                {"[iU]", "[arb'U]", false},
                {"[iU]", "1", false},
                {"[iU]/L", "U/L", false},
                {"[iU]2", "[iU]", false},
                {"{score}", "1", true},
                {"%", "1", true},
                {"mol", "1", true},
                {"rad", "deg", true},
                {"rad", "1", false},
                {"Cel", "K", true},
                {"Cel", "[degF]", true},
                {"Cel", "Cel", true},
                {"Cel/h", "K/h", false},
                {"Cel/h", "Cel/h", true},
                {"Cel/h", "Cel/s", true},
                {"Cel2", "Cel", false},
                {"dB", "B", true},
                {"B", "Np", false},
                {"[pH]", "mol/L", false},
                {"[pH]", "[pH]", true},
                {"a", "d", true},
                {"d", "m", false},
                {"N", "kg.m/s2", true},
                {"J", "eV", true},
                {"mg", "day", false},
                {"day", "day", false},
                {"", "", false}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        og_str a = og_str_of(rows[i].a), b = og_str_of(rows[i].b);
        if (ucum_comparable(a, b) != rows[i].expected || ucum_comparable(b, a) != rows[i].expected)
            fail_msg("%s and %s should%s be comparable", rows[i].a, rows[i].b,
                     rows[i].expected ? "" : " not");
    }
}

static void conversions(void **state)
{
    (void)state;
    static const struct {
        const char *value, *from, *to, *expected; /* expected NULL: cannot be converted */
    } rows[] = {
        {"1", "g", "mg", "1000"},
        {"9.5", "mg/dL", "mg/L", "95"},
        {"1", "kg/m2", "g/cm2", "0.1"},
        {"120", "mm[Hg]", "kPa", "15.99864"},
        {"1", "[in_i]", "cm", "2.54"},
        {"1", "[lb_av]", "g", "453.59237"},
        {"1", "[psi]", "Pa", "6894.75729317"}, /* NIST SP 811: 6.894757 E+03 */
        {"1", "[mi_i]", "m", "1609.344"},
        {"1", "[ft_us]", "m", "0.30480061"},
        {"3937", "[ft_us]", "m", "1200"},
        {"1", "[gal_us]", "L", "3.78541178"},
        {"1", "cal_th", "J", "4.184"},
        {"1", "eV", "J", "0"},
        {"1000000000000000000", "eV", "J", "0.16021773"},
        {"1", "a", "d", "365.25"},
        {"1", "mo", "d", "30.4375"},
        {"1", "wk", "h", "168"},
        {"28", "d", "wk", "4"},
        {"1", "mL/min/{1.73_m2}", "mL/min", "1"},
        {"50", "mL/min/1.73.m2", "mL/min", NULL},
        {"1", "%", "1", "0.01"},
        {"12.5", "1", "%", "1250"},
        {"1", "[ppm]", "10*-6", "1"},
        {"5", "10*9/L", "10*3/uL", "5"},
        {"5", "10^9/L", "/nL", "5"},
        {"1", "mol", "mmol", "1000"},
        {"1", "kat", "U", "60000000"},
        {"1", "U/L", "nkat/L", "16.66666667"},
        {"37", "Cel", "[degF]", "98.6"},
        {"98.6", "[degF]", "Cel", "37"},
        {"-40", "[degF]", "Cel", "-40"},
        {"0", "Cel", "K", "273.15"},
        {"0", "K", "Cel", "-273.15"},
        {"0", "K", "[degF]", "-459.67"},
        {"100", "[degF]", "Cel", "37.77777778"},
        {"37", "Cel", "Cel", "37"},
        {"1500", "mCel", "Cel", "1.5"},
        {"1.5", "Cel", "mCel", "1500"},
        {"80", "[degRe]", "Cel", "100"},
        {"37", "Cel", "mg", NULL},
        {"180", "deg", "rad", "3.14159265"},
        {"3.14159265", "rad", "deg", "179.99999979"},
        {"1", "circ", "deg", "360"},
        {"1", "gon", "deg", "0.9"},
        {"1", "k[IU]/L", "[iU]/mL", "1"},
        {"10", "dB", "B", "1"},
        {"7.4", "[pH]", "mol/L", NULL},
        {"7.4", "[pH]", "[pH]", "7.4"},
        {"1", "KiBy", "By", "1024"},
        {"1", "By", "bit", "8"},
        {"1", "mm", "km", "0.000001"},
        {"1", "nm", "km", "0"},
        {"5", "um", "km", "0.00000001"}, /* half goes away from zero */
        {"-5", "um", "km", "-0.00000001"},
        {"4.99999999", "um", "km", "0"},
        {"1", "Ym", "ym", NULL}, /* 10^48 is no CQL decimal */
        {"1", "m9999", "mm9999", NULL},
        {"0", "Ym", "ym", "0"},
        {"99999999999999999999.99999999", "g", "g", "99999999999999999999.99999999"},
        {"99999999999999999999", "g", "kg", "99999999999999999.999"},
        {"9999999999999999999999999999.99999999", "kg", "kg",
         "9999999999999999999999999999.99999999"},
        {"9999999999999999999999999.99999999", "kg", "g", "9999999999999999999999999999.99999"},
        {"9999999999999999999999999999", "kg", "g", NULL},
        {"-99999999999999999999.99999999", "dag", "hg", "-10000000000000000000"},
        {"1", "(m.s)/s", "cm", "100"},
        {"1", "m/(s/s)", "cm", "100"},
        {"3", "m/3", "m", "1"},
        {"1", "mg/24.h", "mg.h", "0.04166667"},
        {"1", "mg/(24.h)", "mg/h", "0.04166667"},
        {"1", "[G]", "m3.kg-1.s-2", "0"},
        {"1000000000", "[G]", "m3.kg-1.s-2", "0.0667259"},
        {"1", "[mu_0].10*7", "N/A2", "12.56637061"},
        {"1", "mg", "day", NULL},
        {"1", "days", "days", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        og_decimal got = 0;
        bool done =
            ucum_convert(dec(rows[i].value), og_str_of(rows[i].from), og_str_of(rows[i].to), &got);
        if (done != (rows[i].expected != NULL))
            fail_msg("%s %s to %s: %s", rows[i].value, rows[i].from, rows[i].to,
                     done ? "should not be possible" : "should be possible");
        if (done && got != dec(rows[i].expected)) {
            char text[48];
            og_decimal_format(got, 0, text);
            fail_msg("%s %s is %s %s, expected %s", rows[i].value, rows[i].from, text, rows[i].to,
                     rows[i].expected);
        }
    }
}

static void comparison(void **state)
{
    (void)state;
    static const struct {
        const char *a, *unit_a, *b, *unit_b;
        int expected; /* 2: not comparable */
    } rows[] = {{"1", "g", "1000", "mg", 0},
                {"1", "g", "1001", "mg", -1},
                {"-1", "g", "-1001", "mg", 1},
                {"1", "nm", "0", "km", 1}, /* not rounded before it is compared */
                {"-1", "nm", "0", "km", -1},
                {"0", "nm", "0", "km", 0},
                {"-1", "g", "1", "mg", -1},
                {"1", "g", "-1", "mg", 1},
                {"0", "g", "-1", "mg", 1},
                {"1", "ym", "1", "Ym", -1},
                {"1", "Ym", "1", "ym", 1},
                {"99999999999999999999", "Ym", "1", "ym", 1},
                {"0", "1", "60914", "mol38", -1}, /* a factor of 10^904 */
                {"60914", "mol38", "0", "1", 1},
                {"-1", "mol38", "1", "1", -1},
                {"0", "g", "1", "m", 2},
                {"0", "m", "0", "m38", 2},
                {"98.6", "[degF]", "37", "Cel", 0},
                {"98.60000001", "[degF]", "37", "Cel", 1},
                {"0", "Cel", "0", "[degF]", 1},
                {"-300", "Cel", "-1", "K", -1},
                {"-1", "Cel", "1", "K", 1},
                {"1", "[ft_us]", "0.30480061", "m", -1},
                {"3937", "[ft_us]", "1200", "m", 0},
                {"1", "mol/L", "1", "mg/L", 2},
                {"1", "day", "1", "day", 2},
                {"5", "mg/dL", "5", "mg/dL", 0}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        int got = 2;
        bool done = ucum_compare(dec(rows[i].a), og_str_of(rows[i].unit_a), dec(rows[i].b),
                                 og_str_of(rows[i].unit_b), &got);
        if (got != rows[i].expected || done != (rows[i].expected != 2))
            fail_msg("%s %s against %s %s: %d, expected %d", rows[i].a, rows[i].unit_a, rows[i].b,
                     rows[i].unit_b, got, rows[i].expected);
    }
}

static void products(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *product, *quotient; /* NULL: false */
    } rows[] = {{"cm", "cm", "cm2", "1"},
                {"1", "1", "1", "1"},
                {"1", "s", "s", "/s"},
                {"mg", "1", "mg", "mg"},
                {"mg/dL", "dL", "mg", "mg/dL2"},
                {"g/cm3", "g/cm3", "g2/cm6", "1"},
                {"mg", "kg", "mg.kg", "mg/kg"},
                {"m/s", "s/m", "1", "m2/s2"},
                {"{score}", "{score}", "1", "1"},
                {"10*9/L", "L", "10*9", "10*9/L2"},
                {"10^3", "10*2", "10*5", "10*1"},
                {"/100{WBC}", "100", "1", "/100/100"},
                {"kg/(m.s2)", "m2", "kg.m/s2", "kg/m3/s2"},
                {"B[10.nV]", "1", "B[10.nV]", "B[10.nV]"},
                {"day", "1", NULL, NULL},
                {"1", "", NULL, NULL}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        char out[64];
        og_str a = og_str_of(rows[i].a), b = og_str_of(rows[i].b);
        assert_int_equal(ucum_multiply(a, b, out, sizeof(out)), rows[i].product != NULL);
        if (rows[i].product != NULL)
            assert_string_equal(out, rows[i].product);
        assert_int_equal(ucum_divide(a, b, out, sizeof(out)), rows[i].quotient != NULL);
        if (rows[i].quotient != NULL)
            assert_string_equal(out, rows[i].quotient);
    }
    char small[4];
    assert_true(ucum_multiply(OG_STR("cm"), OG_STR("cm"), small, sizeof(small)));
    assert_false(ucum_multiply(OG_STR("cm"), OG_STR("kg"), small, sizeof(small)));
    assert_false(ucum_multiply(OG_STR("m"), OG_STR("m"), small, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_and_invalid), cmocka_unit_test(comparable),
        cmocka_unit_test(conversions),       cmocka_unit_test(comparison),
        cmocka_unit_test(products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
