/* Runs a fuzz target without libFuzzer: each file given (or each file of a folder given) as it is,
 * cut short at every length up to a limit, and with bytes changed by a generator that starts the
 * same every time. The inputs stand in memory of exactly their size, so that a sanitizer sees a
 * read behind the end. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CUTS = 400, CHANGED = 2000, CHANGES = 4 };

static uint64_t state = 0x9E3779B97F4A7C15u;
static size_t inputs;

static uint64_t next(void)
{
    state ^= state << 13; /* xorshift64 */
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void try(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size != 0 ? size : 1);
    if (exact == NULL)
        abort();
    if (size != 0)
        memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    inputs++;
}

static void vary(uint8_t *data, size_t size)
{
    static const char telling[] = "{}[]\",:\\u09-.eE\x80\xC3\xED\xF4\0\n tfn|/#?";
    try(data, size);
    size_t step = size / CUTS + 1;
    for (size_t n = 0; n < size; n += step)
        try(data, n);
    for (int i = 0; size != 0 && i < CHANGED; i++) {
        size_t at[CHANGES];
        uint8_t was[CHANGES];
        int n = 1 + (int)(next() % CHANGES);
        for (int k = 0; k < n; k++) {
            at[k] = next() % size;
            was[k] = data[at[k]];
            data[at[k]] =
                next() % 3 != 0 ? (uint8_t)telling[next() % (sizeof telling - 1)] : (uint8_t)next();
        }
        try(data, size);
        for (int k = n - 1; k >= 0; k--)
            data[at[k]] = was[k];
    }
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        if (f != NULL)
            fclose(f);
        return 1;
    }
    long size = ftell(f);
    rewind(f);
    uint8_t *data = malloc((size_t)size + 1);
    if (data == NULL || fread(data, 1, (size_t)size, f) != (size_t)size) {
        perror(path);
        free(data);
        fclose(f);
        return 1;
    }
    fclose(f);
    vary(data, (size_t)size);
    free(data);
    return 0;
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int run(const char *path)
{
    struct stat st;
    struct dirent **list;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode))
        return run_file(path);
    int failed = 0, n = scandir(path, &list, visible, alphasort);
    for (int i = 0; i < n; i++) {
        char inside[4096];
        snprintf(inside, sizeof inside, "%s/%s", path, list[i]->d_name);
        failed |= run(inside);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return failed | (n < 0);
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= run(argv[i]);
    printf("%zu inputs\n", inputs);
    return failed || inputs == 0;
}
