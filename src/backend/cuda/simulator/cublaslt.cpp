// cuBLASLt for tests: products in plain loops, on the simulated driver's streams. It has several algorithms, all with the same
// result, of which one is refused when it is run, as some are that the library has only on paper.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_TF32 = 77, EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4, EPILOGUE_BGRADA = 256 };
// More of it than the library says that it needs would be an error of ours.
constexpr size_t WORKSPACE = 1 << 20;

struct Operation {
    int compute, transposed[2] = {0, 0}, epilogue = EPILOGUE_DEFAULT;
    uint64_t bias = 0;
};
struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t stride;
};
struct Preference {
    uint64_t workspace = 0;
    unsigned alignment[4] = {256, 256, 256, 256};
};
struct Algorithm {
    uint64_t data[8];
};
struct Result {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

// All of one product. The library thinks in columns.
struct Product {
    Operation operation;
    Layout a, b, d;
    uint64_t at_a, at_b, at_d, workspace;
};

template <typename F> F of_driver(const char* name) {
    static void* driver = dlopen("libcuda.so", RTLD_NOW | RTLD_NOLOAD);
    void* found = driver ? dlsym(driver, name) : nullptr;
    if (!found) fprintf(stderr, "simulated cuBLASLt: there is no simulated driver\n"), abort();
    return reinterpret_cast<F>(found);
}

size_t size_of(int type) { return type == R_32F ? 4 : 2; }
size_t bytes(const Layout& layout) { return ((layout.columns - 1) * layout.stride + layout.rows) * size_of(layout.type); }

float load(uint64_t address, int type, uint64_t index) {
    if (type == R_32F) return reinterpret_cast<const float*>(address)[index];
    uint32_t bits = uint32_t(reinterpret_cast<const uint16_t*>(address)[index]) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
void store(uint64_t address, int type, uint64_t index, float value) {
    if (type == R_32F) {
        reinterpret_cast<float*>(address)[index] = value;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &value, 4);
    bool nan = (bits & 0x7fffffff) > 0x7f800000;
    reinterpret_cast<uint16_t*>(address)[index] = nan ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
float tf32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    bits = (bits + 0xfff + ((bits >> 13) & 1)) & 0xffffe000;
    memcpy(&value, &bits, 4);
    return value;
}

// Elements of an operand, as rows of [rows, columns] after it was transposed.
std::vector<float> operand(const Layout& layout, uint64_t address, bool transposed, int compute) {
    uint64_t rows = transposed ? layout.columns : layout.rows, columns = transposed ? layout.rows : layout.columns;
    std::vector<float> all(rows * columns);
    for (uint64_t row = 0; row < rows; row++)
        for (uint64_t column = 0; column < columns; column++) {
            float value = load(address, layout.type, transposed ? row * layout.stride + column : column * layout.stride + row);
            all[row * columns + column] = compute == COMPUTE_TF32 ? tf32(value) : value;
        }
    return all;
}

void run(void* data) {
    Product& product = *static_cast<Product*>(data);
    auto there = of_driver<int (*)(uint64_t, size_t)>("vitx_there");
    const Layout &a = product.a, &b = product.b, &d = product.d;
    const Operation& operation = product.operation;
    bool sums = operation.epilogue == EPILOGUE_BGRADA, biased = operation.epilogue == EPILOGUE_BIAS;
    size_t bias = sums ? d.rows * 4 : biased ? d.rows * size_of(d.type) : 0;
    if (!there(product.at_a, bytes(a)) || !there(product.at_b, bytes(b)) || !there(product.at_d, bytes(d)) ||
        !there(product.workspace, WORKSPACE) || (bias && !there(operation.bias, bias)))
        return of_driver<void (*)(const char*)>("vitx_fail")("its memory is not there");
    if (!of_driver<int (*)()>("vitx_works")()) return;
    // Whoever runs beside it on the same workspace spoils it.
    memset(reinterpret_cast<void*>(product.workspace), 0xFF, WORKSPACE);
    uint64_t m = d.rows, n = d.columns, k = operation.transposed[0] ? a.rows : a.columns;
    std::vector<float> left = operand(a, product.at_a, operation.transposed[0], operation.compute);
    // Column by column.
    std::vector<float> right = operand(b, product.at_b, !operation.transposed[1], operation.compute), column(m);
    for (uint64_t at = 0; at < n; at++) {
        for (uint64_t row = 0; row < m; row++) {
            // The library sums in several parts, which is as exact as this.
            double sum = biased ? load(operation.bias, d.type, row) : 0;
            for (uint64_t inner = 0; inner < k; inner++) sum += double(left[row * k + inner]) * right[at * k + inner];
            column[row] = sum;
        }
        for (uint64_t row = 0; row < m; row++) store(product.at_d, d.type, at * d.stride + row, column[row]);
    }
    for (uint64_t row = 0; sums && row < m; row++) {
        double sum = 0;
        for (uint64_t inner = 0; inner < k; inner++) sum += left[row * k + inner];
        store(operation.bias, R_32F, row, sum);
    }
}

// What the library has: matrices that fit together, in the types that it multiplies.
bool fits(const Operation& operation, const Layout& a, const Layout& b, const Layout& d) {
    uint64_t m = operation.transposed[0] ? a.columns : a.rows, k = operation.transposed[0] ? a.rows : a.columns;
    uint64_t inner = operation.transposed[1] ? b.columns : b.rows, n = operation.transposed[1] ? b.rows : b.columns;
    bool compute = operation.compute == COMPUTE_32F || (operation.compute == COMPUTE_TF32 && a.type == R_32F);
    bool epilogue = operation.epilogue == EPILOGUE_DEFAULT || operation.epilogue == EPILOGUE_BIAS ||
                    (operation.epilogue == EPILOGUE_BGRADA && !operation.transposed[1]);
    return compute && epilogue && a.type == b.type && (d.type == a.type || d.type == R_32F) && m == d.rows && n == d.columns && k == inner &&
           a.stride >= int64_t(a.rows) && b.stride >= int64_t(b.rows) && d.stride >= int64_t(d.rows) &&
           (operation.epilogue == EPILOGUE_DEFAULT || operation.bias);
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() {
    const char* text = getenv("VITX_SIMULATED_LIBRARIES");
    return 10000 * (text ? atoi(text) : 13);
}
const char* cublasLtGetStatusName(int) { return "simulated status"; }
const char* cublasLtGetStatusString(int) { return "simulated status"; }
int cublasLtCreate(void** handle) { *handle = new int(0); return SUCCESS; }
int cublasLtDestroy(void* handle) { delete static_cast<int*>(handle); return SUCCESS; }

int cublasLtMatmulDescCreate(Operation** operation, int compute, int scale) {
    *operation = new Operation{compute};
    return scale == R_32F ? SUCCESS : INVALID_VALUE;
}
int cublasLtMatmulDescDestroy(Operation* operation) { delete operation; return SUCCESS; }
int cublasLtMatmulDescSetAttribute(Operation* operation, int attribute, const void* value, size_t size) {
    switch (attribute) {
        case 3: case 4: return size == 4 ? memcpy(&operation->transposed[attribute - 3], value, 4), SUCCESS : INVALID_VALUE;
        case 7: return size == 4 ? memcpy(&operation->epilogue, value, 4), SUCCESS : INVALID_VALUE;
        case 8: return size == 8 ? memcpy(&operation->bias, value, 8), SUCCESS : INVALID_VALUE;
        default: return INVALID_VALUE;
    }
}
int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    *layout = new Layout{type, rows, columns, stride};
    return rows && columns && (type == R_32F || type == R_16BF) ? SUCCESS : INVALID_VALUE;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) { delete layout; return SUCCESS; }
int cublasLtMatmulPreferenceCreate(Preference** preference) { *preference = new Preference; return SUCCESS; }
int cublasLtMatmulPreferenceDestroy(Preference* preference) { delete preference; return SUCCESS; }
int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value, size_t size) {
    if (attribute == 1 && size == 8) return memcpy(&preference->workspace, value, 8), SUCCESS;
    if (attribute >= 5 && attribute <= 8 && size == 4) return memcpy(&preference->alignment[attribute - 5], value, 4), SUCCESS;
    return INVALID_VALUE;
}

int cublasLtMatmulAlgoGetHeuristic(void*, const Operation* operation, const Layout* a, const Layout* b, const Layout*, const Layout* d,
                                   const Preference* preference, int wanted, Result* results, int* count) {
    *count = 0;
    if (!fits(*operation, *a, *b, *d) || preference->workspace < WORKSPACE) return NOT_SUPPORTED;
    for (uint64_t at = 0; at < 3 && int(at) < wanted; at++, ++*count)
        results[at] = Result{{{0x51, at}}, WORKSPACE, SUCCESS, 1, {}};
    return SUCCESS;
}

int cublasLtMatmul(void*, const Operation* operation, const float* alpha, const void* at_a, const Layout* a, const void* at_b, const Layout* b,
                   const float* beta, const void*, const Layout*, void* at_d, const Layout* d, const Algorithm* algorithm, void* workspace,
                   size_t workspace_bytes, void* stream) {
    if (!fits(*operation, *a, *b, *d) || *alpha != 1 || *beta != 0 || algorithm->data[0] != 0x51 || workspace_bytes < WORKSPACE)
        return INVALID_VALUE;
    if (algorithm->data[1] == 1) return NOT_SUPPORTED;
    uint64_t addresses[] = {uint64_t(at_a), uint64_t(at_b), uint64_t(at_d), uint64_t(workspace)};
    if (addresses[0] % size_of(a->type) || addresses[1] % size_of(b->type) || addresses[2] % size_of(d->type) || addresses[3] % 256)
        return INVALID_VALUE;
    auto* product = new Product{*operation, *a, *b, *d, addresses[0], addresses[1], addresses[2], addresses[3]};
    auto put = of_driver<int (*)(void*, void (*)(void*), void*, void (*)(void*), uint64_t)>("vitx_put");
    return put(stream, run, product, [](void* data) { delete static_cast<Product*>(data); }, product->workspace) == 0 ? SUCCESS : EXECUTION_FAILED;
}

}  // extern "C"
