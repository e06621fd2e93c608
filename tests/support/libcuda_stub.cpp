// Answers as NVIDIA's driver does for what is asked before a device is opened: a machine of eight devices, the last of
// them too old. CUDA_VISIBLE_DEVICES is read as the driver reads it: numbers, or the beginnings of UUIDs; the list ends
// at the first that is not there, at -1 too; empty hides all; a device that is named twice hides all.
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {
const int COUNT = 8, NO_DEVICE = 100, INVALID_DEVICE = 101, OUT_OF_MEMORY = 2;
int shown[COUNT], count = -1;

void uuid_text(int device, char* text) { std::sprintf(text, "GPU-%08x-0000-4000-8000-00000000000%d", 0xa0 + device, device); }

int find(const char* name, size_t length) {
    if (length == 0) return -1;
    bool digits = true;
    for (size_t at = 0; at < length; ++at) digits = digits && name[at] >= '0' && name[at] <= '9';
    if (digits) {
        int number = std::atoi(name);
        return number < COUNT ? number : -1;
    }
    int found = -1;
    for (int device = 0; device < COUNT; ++device) {
        char text[64];
        uuid_text(device, text);
        if (length >= 5 && std::strncmp(text, name, length) == 0) found = found == -1 ? device : -2;
    }
    return found;
}

void look() {
    count = 0;
    const char* list = std::getenv("CUDA_VISIBLE_DEVICES");
    if (!list) {
        for (; count < COUNT; ++count) shown[count] = count;
        return;
    }
    while (true) {
        while (*list == ' ') ++list;
        size_t length = std::strcspn(list, ",");
        int device = find(list, length);
        if (device < 0) return;
        for (int at = 0; at < count; ++at)
            if (shown[at] == device) { count = 0; return; }
        shown[count++] = device;
        if (!list[length]) return;
        list += length + 1;
    }
}
}  // namespace

extern "C" {
// Of the libraries beside it, which are copies of it.
int nvrtcVersion(int* major, int* minor) { *major = 13, *minor = 0; return 0; }
size_t cublasLtGetVersion() { return 130000; }
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuInit(unsigned) { look(); return count == 0 ? NO_DEVICE : 0; }
int cuDeviceGetCount(int* answer) { *answer = count; return 0; }
int cuDeviceGet(int* device, int ordinal) {
    if (ordinal < 0 || ordinal >= count) return INVALID_DEVICE;
    *device = ordinal;
    return 0;
}
int cuDeviceGetName(char* name, int length, int device) {
    std::snprintf(name, length, "Stub A100 #%d", shown[device]);
    return 0;
}
int cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    unsigned char bytes[16] = {0, 0, 0, (unsigned char)(0xa0 + shown[device]), 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, (unsigned char)shown[device]};
    std::memcpy(uuid, bytes, 16);
    return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = size_t(40) << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 75 ? (shown[device] == COUNT - 1 ? 7 : 8) : 0;  // 75: compute capability, major
    return 0;
}
// Nothing can be computed here: a device that is opened has no memory. That tells which one it was.
int cuDevicePrimaryCtxRetain(void** context, int device) {
    if (const char* path = std::getenv("STUB_OPENED"))
        if (FILE* file = std::fopen(path, "a")) { std::fprintf(file, "%d\n", shown[device]); std::fclose(file); }
    *context = nullptr;
    return OUT_OF_MEMORY;
}
int cuGetErrorString(int, const char** text) { *text = "out of memory"; return 0; }
int cuGetErrorName(int, const char** text) { *text = "CUDA_ERROR_OUT_OF_MEMORY"; return 0; }
}
