/* Local time needs an offset, and the offset depends on the time: it is asked for twice, so that a
 * moment after a change of the clock gets the offset that holds then. */
#include "daemon/moment.h"

#include "daemon/clock.h"

bool moment_parse(og_str text, bool use_zone, moment *ret)
{
    og_temporal t;
    moment m;

    if (!og_temporal_parse_fhir(text, &t))
        return false;
    if (t.has_offset) {
        m.ms = og_temporal_earliest_ms(&t, 0);
        m.offset_min = use_zone ? clock_offset_min(m.ms) : t.offset_min;
    } else {
        m.offset_min = clock_offset_min(og_temporal_earliest_ms(&t, 0));
        m.offset_min = clock_offset_min(og_temporal_earliest_ms(&t, m.offset_min));
        m.ms = og_temporal_earliest_ms(&t, m.offset_min);
    }
    *ret = m;
    return true;
}

size_t moment_format(const moment *m, char *out)
{
    og_temporal t = og_temporal_at(m->ms, m->offset_min);
    if (t.ms == 0)
        t.precision = OG_SECOND;
    return og_temporal_format(&t, out);
}
