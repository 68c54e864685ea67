/* Two hands that write the same document. The HTML needs nothing from outside: its style stands in
 * it, and the one script unfolds everything before printing, so that what is signed is complete. */
#include "daemon/book.h"

#include <string.h>

static const char style[] =
    ":root{--ink:#1c2430;--quiet:#5b6675;--line:#cfd6df;--paper:#fff;--tint:#f4f6f9;--mark:#0b5c7a}"
    "\n"
    "*{box-sizing:border-box}\n"
    "body{font:15px/1.5 'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;color:var(--ink);"
    "background:#e9edf2;margin:0}\n"
    "main{max-width:62rem;margin:0 auto;padding:1rem}\n"
    "section{background:var(--paper);border:1px solid var(--line);border-radius:6px;"
    "padding:1.6rem 2.2rem;margin:0 0 1.4rem}\n"
    "h1{font-size:1.55rem;line-height:1.25;margin:0 0 .6rem;padding-bottom:.5rem;"
    "border-bottom:3px solid var(--mark)}\n"
    "h2{font-size:1.12rem;color:var(--mark);margin:1.6rem 0 .4rem}\n"
    "h3{font-size:1rem;margin:1.1rem 0 .3rem}\nh4{font-size:.92rem;margin:.9rem 0 .2rem}\n"
    "p{margin:.35rem 0}\n.quiet{color:var(--quiet);font-size:.92em}\n"
    ".field{display:grid;grid-template-columns:10.5rem 1fr;gap:.8rem}\n"
    ".field>b{font-weight:600;color:var(--quiet)}\n"
    "pre{font:12.5px/1.45 'DejaVu Sans Mono',Consolas,Menlo,monospace;background:var(--tint);"
    "border-left:3px solid var(--line);padding:.5rem .7rem;margin:.35rem 0 .6rem;"
    "white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "table{border-collapse:collapse;width:100%;margin:.4rem 0 .8rem;font-size:.92em}\n"
    "th,td{border:1px solid var(--line);padding:.28rem .5rem;text-align:left;vertical-align:top}\n"
    "th{background:var(--tint);font-weight:600;white-space:nowrap}.url{overflow-wrap:anywhere}\n"
    ".card{border:1px solid var(--line);border-left:4px solid var(--mark);padding:.3rem .9rem;"
    "margin:.4rem 0 .8rem}\n"
    "details{margin:.4rem 0}\nsummary{cursor:pointer;color:var(--mark)}\n"
    "a{color:var(--mark)}\nul{margin:.3rem 0;padding-left:1.3rem}\n"
    ".sign td{height:2.6rem}\n.sign{break-inside:avoid}\n"
    "@media print{body{background:#fff;font-size:10.5pt}main{max-width:none;padding:0}"
    "section{border:0;border-radius:0;padding:0;margin:0;break-before:page}"
    "section:first-of-type{break-before:auto}"
    "h2,h3,h4,summary{break-after:avoid}tr{break-inside:avoid}pre{font-size:8.5pt}"
    "td,th{padding:.15rem .4rem}.screen{display:none}a{color:inherit;text-decoration:none}}\n"
    "@page{size:A4;margin:18mm 16mm}\n";

static const char script[] =
    "addEventListener('beforeprint',()=>document.querySelectorAll('details:not(.screen)').forEach("
    "d=>d.open="
    "true));\n"
    "const show=()=>{for(let e=document.getElementById(decodeURIComponent(location.hash.slice(1)));"
    "e;e=e.parentElement)if(e.tagName==='DETAILS')e.open=true};"
    "addEventListener('hashchange',show);show();\n";

static void add_html(book *b, og_str s, bool breaks)
{
    for (size_t i = 0; i < s.n; i++) {
        switch (s.p[i]) {
        case '&': og_buf_addz(b->out, "&amp;"); break;
        case '<': og_buf_addz(b->out, "&lt;"); break;
        case '>': og_buf_addz(b->out, "&gt;"); break;
        case '"': og_buf_addz(b->out, "&quot;"); break;
        case '\'': og_buf_addz(b->out, "&#39;"); break;
        case '\n': og_buf_addz(b->out, breaks ? "<br>" : "\n"); break;
        default: og_buf_addc(b->out, s.p[i]);
        }
    }
}

static void add_markdown(book *b, og_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '<')
            og_buf_addz(b->out, "&lt;");
        else if (s.p[i] == '&')
            og_buf_addz(b->out, "&amp;");
        else if (s.p[i] == '\n')
            og_buf_addz(b->out, b->cells != 0 ? "<br>" : "\n");
        else {
            if (strchr("\\`*_[]|~#>", s.p[i]) != NULL && s.p[i] != '\0')
                og_buf_addc(b->out, '\\');
            og_buf_addc(b->out, s.p[i]);
        }
    }
}

static void add(book *b, og_str s)
{
    if (b->html)
        add_html(b, s, true);
    else
        add_markdown(b, s);
}

static void raw(book *b, const char *html, const char *markdown)
{
    og_buf_addz(b->out, b->html ? html : markdown);
}

/* Anchors are made of letters, digits, '-', '.' and '_' alone. */
static void add_anchor(book *b, const char *anchor)
{
    for (const char *c = anchor; *c != '\0'; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || *c == '-' || *c == '.' || *c == '_';
        og_buf_addc(b->out, plain ? *c : '-');
    }
}

void book_begin(book *b, og_str title)
{
    if (!b->html)
        return;
    og_buf_addz(b->out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                        "<title>");
    add(b, title);
    og_buf_addf(b->out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n", style);
}

void book_end(book *b)
{
    if (b->html)
        og_buf_addf(b->out, "</main>\n<script>\n%s</script>\n</body>\n</html>\n", script);
}

void book_page(book *b, const char *anchor, og_str title)
{
    raw(b, "<section", "");
    if (anchor != NULL) {
        raw(b, " id=\"", "<a id=\"");
        add_anchor(b, anchor);
        raw(b, "\"", "\"></a>\n\n");
    }
    raw(b, ">\n<h1>", "# ");
    add(b, title);
    raw(b, "</h1>\n", "\n\n");
}

void book_anchor(book *b, const char *anchor)
{
    raw(b, "<span id=\"", "<a id=\"");
    add_anchor(b, anchor);
    raw(b, "\"></span>\n", "\"></a>\n\n");
}

void book_page_end(book *b)
{
    raw(b, "</section>\n", "\n---\n\n");
}

void book_heading(book *b, int level, og_str text)
{
    if (b->html)
        og_buf_addf(b->out, "<h%d>", level);
    for (int i = 0; !b->html && i < level; i++)
        og_buf_addc(b->out, '#');
    raw(b, "", " ");
    add(b, text);
    if (b->html)
        og_buf_addf(b->out, "</h%d>\n", level);
    else
        og_buf_addz(b->out, "\n\n");
}

void book_text(book *b, og_str text)
{
    if (text.n == 0)
        return;
    raw(b, "<p>", "");
    add(b, text);
    raw(b, "</p>\n", "\n\n");
}

void book_quiet(book *b, og_str text)
{
    if (text.n == 0)
        return;
    raw(b, "<p class=\"quiet\">", "*");
    add(b, text);
    raw(b, "</p>\n", "*\n\n");
}

void book_field(book *b, const char *label, og_str text)
{
    if (text.n == 0)
        return;
    raw(b, "<p class=\"field\"><b>", "**");
    add(b, og_str_of(label));
    raw(b, "</b><span>", "**: ");
    add(b, text);
    raw(b, "</span></p>\n", "\n\n");
}

void book_code(book *b, const char *anchor, og_str text)
{
    if (anchor != NULL) {
        raw(b, "<pre id=\"", "<a id=\"");
        add_anchor(b, anchor);
        raw(b, "\">", "\"></a>\n\n");
    } else {
        raw(b, "<pre>", "");
    }
    if (b->html) {
        add_html(b, text, false);
        og_buf_addz(b->out, "</pre>\n");
        return;
    }
    /* four marks more than any run of them in the text could need */
    og_buf_addz(b->out, "``````cql\n");
    og_buf_adds(b->out, text);
    og_buf_addz(b->out, "\n``````\n\n");
}

/* Up to the next cell's border; `\\x` is x. Written piece by piece: a cell may be of any length. */
static void add_md_cell(book *b, og_str *row)
{
    size_t begin = 0, i = 0;

    for (; i < row->n && row->p[i] != '|'; i++) {
        if (row->p[i] != '\\' || i + 1 >= row->n)
            continue;
        add_html(b, (og_str){row->p + begin, i - begin}, true);
        begin = ++i; /* what follows is taken as it is */
    }
    add_html(b, (og_str){row->p + begin, i - begin}, true);
    *row = og_str_from(*row, i < row->n ? i + 1 : i);
}

static void add_md_row(book *b, og_str line)
{
    og_str row = og_str_from(line, 1);

    og_buf_addz(b->out, "<tr>");
    while (row.n != 0) {
        og_buf_addz(b->out, "<td>");
        add_md_cell(b, &row);
        og_buf_addz(b->out, "</td>");
    }
    og_buf_addz(b->out, "</tr>\n");
}

static void add_md_text(book *b, og_str line)
{
    bool heading = og_str_starts(line, OG_STR("### "));

    og_buf_addz(b->out, heading ? "<h4>" : "<p>");
    if (heading)
        line = og_str_from(line, 4);
    while (line.n != 0) { /* bars mean nothing here */
        add_md_cell(b, &line);
        og_buf_addz(b->out, line.n != 0 ? "|" : "");
    }
    og_buf_addz(b->out, heading ? "</h4>\n" : "</p>\n");
}

void book_markdown(book *b, og_str text)
{
    bool table = false;

    if (!b->html) {
        og_buf_adds(b->out, text);
        og_buf_addz(b->out, "\n\n");
        return;
    }
    og_buf_addz(b->out, "<div class=\"card\">\n");
    while (text.n != 0) {
        ptrdiff_t end = og_str_find(text, '\n');
        og_str line = {text.p, end < 0 ? text.n : (size_t)end};
        bool row = og_str_starts(line, OG_STR("|"));
        text = og_str_from(text, end < 0 ? text.n : (size_t)end + 1);
        if (row != table)
            og_buf_addz(b->out, row ? "<table>\n" : "</table>\n");
        table = row;
        if (row && !og_str_starts(line, OG_STR("| ---")))
            add_md_row(b, line);
        else if (!row && line.n != 0)
            add_md_text(b, line);
    }
    og_buf_addz(b->out, table ? "</table>\n</div>\n" : "</div>\n");
}

void book_fold_begin(book *b, og_str title)
{
    og_buf_addz(b->out, "<details><summary>");
    add_html(b, title, true);
    raw(b, "</summary>\n", "</summary>\n\n");
}

void book_screen_begin(book *b, og_str title)
{
    og_buf_addz(b->out, "<details class=\"screen\"><summary>");
    add_html(b, title, true);
    raw(b, "</summary>\n", "</summary>\n\n");
}

void book_fold_end(book *b)
{
    raw(b, "</details>\n", "</details>\n\n");
}

void book_table_begin(book *b, const char *const *heads)
{
    raw(b, "<table>\n<thead><tr>", "|");
    for (size_t i = 0; heads[i] != NULL; i++) {
        raw(b, "<th>", " ");
        add(b, og_str_of(heads[i]));
        raw(b, "</th>", " |");
    }
    raw(b, "</tr></thead>\n<tbody>\n", "\n|");
    for (size_t i = 0; !b->html && heads[i] != NULL; i++)
        og_buf_addz(b->out, " --- |");
    raw(b, "", "\n");
}

void book_row_begin(book *b)
{
    b->cells = 1;
    raw(b, "<tr>", "|");
}

void book_cell(book *b, og_str text)
{
    raw(b, text.n != 0 && memmem(text.p, text.n, "://", 3) != NULL ? "<td class=\"url\">" : "<td>",
        " ");
    add(b, text);
    raw(b, "</td>", " |");
}

static void add_link(book *b, const char *anchor, og_str text)
{
    raw(b, "<a href=\"#", "[");
    if (!b->html) {
        add(b, text);
        og_buf_addz(b->out, "](#");
    }
    add_anchor(b, anchor);
    raw(b, "\">", ")");
    if (b->html) {
        add(b, text);
        og_buf_addz(b->out, "</a>");
    }
}

void book_cell_link(book *b, const char *anchor, og_str text)
{
    raw(b, "<td>", " ");
    add_link(b, anchor, text);
    raw(b, "</td>", " |");
}

void book_row_end(book *b)
{
    b->cells = 0;
    raw(b, "</tr>\n", "\n");
}

void book_table_end(book *b)
{
    raw(b, "</tbody>\n</table>\n", "\n");
}

void book_links_begin(book *b)
{
    raw(b, "<ul>\n", "");
}

void book_link(book *b, const char *anchor, og_str text, og_str note)
{
    raw(b, "<li>", "- ");
    add_link(b, anchor, text);
    if (note.n != 0) {
        raw(b, " <span class=\"quiet\">", " ");
        add(b, note);
        raw(b, "</span>", "");
    }
    raw(b, "</li>\n", "\n");
}

void book_links_end(book *b)
{
    raw(b, "</ul>\n", "\n");
}

void book_signatures(book *b)
{
    static const char *const who[] = {"Physician", "Pharmacist", "Chair of the drug commission"};

    book_heading(b, 2, OG_STR("Decision of the drug commission"));
    book_text(b, OG_STR("\xe2\x98\x90 approved     \xe2\x98\x90 approved with changes     "
                        "\xe2\x98\x90 not approved"));
    raw(b,
        "<table class=\"sign\">\n<thead><tr><th>Role</th><th>Name</th><th>Date</th>"
        "<th>Signature</th></tr></thead>\n<tbody>\n",
        "| Role | Name | Date | Signature |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < sizeof who / sizeof *who; i++) {
        book_row_begin(b);
        book_cell(b, og_str_of(who[i]));
        for (int k = 0; k < 3; k++)
            book_cell(b, OG_STR(""));
        book_row_end(b);
    }
    book_table_end(b);
    book_field(b, "Changes", OG_STR("\xe2\x80\xa6"));
}
